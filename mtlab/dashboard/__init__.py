"""`mtlab dashboard`: the whole store in a browser, live while studies run. Needs the extra `mtlab[dashboard]`.

The address of a page holds all that was chosen on it. A page is a function of the store and its address; controls do
nothing but change the address.
"""
