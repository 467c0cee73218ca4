// What runs in the browser: the theme, the clock, and where the keyboard is after a new page.
(function () {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  let page = null; // the pathname that was last arrived at

  window.dash_clientside = Object.assign({}, window.dash_clientside, {
    mtlab: {
      // Choose the scheme: as told, else as the system has it. Styles go by the attribute, figures by the answer.
      scheme: function (choice) {
        const forced = choice === "light" || choice === "dark";
        try {
          if (forced) localStorage.setItem("mtlab-theme", choice);
          else localStorage.removeItem("mtlab-theme");
        } catch (error) { /* a browser that keeps nothing */ }
        if (forced) document.documentElement.dataset.theme = choice;
        else delete document.documentElement.dataset.theme;
        return forced ? choice : dark.matches ? "dark" : "light";
      },
      // Pass the clock on, unless nobody looks.
      beat: function (ticks, live) {
        return document.hidden || !(live || []).length ? window.dash_clientside.no_update : ticks;
      },
      // Another address: what is seen is not yet what was asked for.
      leave: function () {
        document.documentElement.classList.add("going");
        return window.dash_clientside.no_update;
      },
      // Name the page; on another page than before start at its top, for eyes and keyboard alike.
      arrive: function (seen, title, pathname) {
        if (!seen) return window.dash_clientside.no_update;
        document.documentElement.classList.remove("going");
        document.title = title + " · mtlab";
        document.querySelectorAll(".top nav a").forEach(function (link) {
          if (new URL(link.href).pathname === pathname) link.setAttribute("aria-current", "page");
          else link.removeAttribute("aria-current");
        });
        if (page !== null && page !== pathname) {
          window.scrollTo(0, 0);
          document.getElementById("main").focus({ preventScroll: true });
        }
        page = pathname;
        return pathname;
      },
    },
  });

  dark.addEventListener("change", function () {
    window.dash_clientside.set_props("system", { data: dark.matches });
  });
})();
