"""`mtlab dashboard`: the whole store in a browser, live while studies run. Needs the extra `mtlab[dashboard]`.

The address of a page holds all choices made on it. A page is a function of the store and its address; controls only
change the address.
"""
