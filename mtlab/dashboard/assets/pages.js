// What runs in the browser: the theme, the clock, and drawing the pages that the server describes.
(function () {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const shown = {}; // part of the page → what was drawn there last
  let at = null; // the pathname of the page that is shown
  let described = null; // the page as the server described it, and the width that it was arranged for
  let width = 0;

  // Dash draws children anew that are given anew: focus, zoom, scrolling and open menus are lost. So only what differs
  // is given to it, by its place in the layout.

  const isComponent = (part) => part !== null && typeof part === "object" && "props" in part && "type" in part;

  function equal(one, other) {
    if (one === other) return true;
    if (typeof one !== "object" || typeof other !== "object" || one === null || other === null) return false;
    const keys = Object.keys(one);
    return keys.length === Object.keys(other).length && keys.every((key) => key in other && equal(one[key], other[key]));
  }

  // May one take the place of the other by changing properties alone?
  function alike(one, other) {
    if (Array.isArray(one) && Array.isArray(other))
      return one.length === other.length && one.every((part, place) => alike(part, other[place]));
    if (isComponent(one) && isComponent(other))
      return one.type === other.type && one.namespace === other.namespace && equal(one.props.id, other.props.id);
    return equal(one, other);
  }

  // Keep a figure where its reader has zoomed to, if it still shows the same thing. (Dash writes the zoom into the
  // figure, which makes plotly forget that it was the reader's.)
  function zoomed(place, old, fresh) {
    const held = window.dash_component_api.getLayout(place).props.figure.layout;
    if (old.layout.uirevision !== fresh.layout.uirevision) return fresh;
    const layout = { ...fresh.layout };
    for (const name of Object.keys(held).filter((key) => /^[xy]axis\d*$/.test(key) && key in layout)) {
      const { range, autorange } = held[name];
      if (range && !autorange && !equal(range, (old.layout[name] || {}).range))
        layout[name] = { ...layout[name], range, autorange };
    }
    return { ...fresh, layout };
  }

  // Change what lies at a place of the layout. What is being typed is younger than what the server knows of it.
  function change(place, old, fresh) {
    if (Array.isArray(fresh)) {
      fresh.forEach((part, index) => change([...place, index], old[index], part));
    } else if (isComponent(fresh)) {
      const changes = {};
      for (const name of new Set([...Object.keys(old.props), ...Object.keys(fresh.props)])) {
        const typed = name === "value" && fresh.type === "Input" && document.activeElement.matches("input[type=search]");
        if (name !== "children" && !typed && !equal(old.props[name], fresh.props[name]))
          changes[name] = name in fresh.props ? fresh.props[name] : null;
      }
      if (changes.figure && old.props.figure) changes.figure = zoomed(place, old.props.figure, changes.figure);
      const within = [old.props.children, fresh.props.children];
      if (alike(...within)) change([...place, "props", "children"], ...within);
      else changes.children = fresh.props.children;
      if (Object.keys(changes).length) window.dash_clientside.set_props(place, changes);
    }
  }

  // Find where in the layout a component lies; null where Dash does not tell.
  function placeOf(id, part, place) {
    if (Array.isArray(part)) {
      for (const [index, each] of part.entries()) {
        const found = placeOf(id, each, [...place, index]);
        if (found) return found;
      }
    } else if (isComponent(part)) {
      if (part.props.id === id) return place;
      return placeOf(id, part.props.children, [...place, "props", "children"]);
    }
    return null;
  }

  // Arrange the figures in a part of the page for the width at hand; their heights follow.
  function arranged(part, width) {
    if (Array.isArray(part)) return part.map((each) => arranged(each, width));
    if (!isComponent(part)) return part;
    const { figure, children, style } = part.props;
    const props = { ...part.props };
    const known = part.type === "Graph" && figure.layout.meta && figure.layout.meta.arrangements;
    if (known) {
      const layout = window.mtlabFigures.arrange(figure.layout, known, width);
      props.figure = { ...figure, layout };
      props.style = { ...style, height: `${layout.height}px` };
    }
    if (children !== undefined) props.children = arranged(children, width);
    return { ...part, props };
  }

  function figureWidth() {
    const main = document.getElementById("main");
    const padding = Number.parseFloat(getComputedStyle(main).paddingLeft);
    return main.clientWidth - 2 * padding - 40; // of the boxes around figures
  }

  function draw(name, described) {
    const fresh = arranged(described, figureWidth());
    const old = shown[name];
    shown[name] = structuredClone(fresh); // plotly writes into the figures that it is given
    const place = placeOf(name, window.dash_component_api.getLayout(["components"]), ["components"]);
    if (old && place && alike(old, fresh)) change([...place, "props", "children"], old, fresh);
    else window.dash_clientside.set_props(name, { children: fresh });
  }

  // What comes from elsewhere: on another page start at its top, for eyes and keyboard alike.
  function arrive(pathname) {
    document.querySelectorAll(".top nav a").forEach(function (link) {
      if (new URL(link.href).pathname === pathname) link.setAttribute("aria-current", "page");
      else link.removeAttribute("aria-current");
    });
    if (at !== null && at !== pathname) {
      window.scrollTo(0, 0);
      document.getElementById("main").focus({ preventScroll: true });
    }
    at = pathname;
  }

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
      // Draw the page that the server describes.
      draw: function (page, pathname) {
        if (!page) return window.dash_clientside.no_update;
        described = page;
        width = figureWidth();
        for (const name of ["head", "controls", "body"]) draw(name, page[name]);
        document.title = page.title + " · mtlab";
        document.documentElement.classList.remove("going");
        arrive(pathname);
        return window.dash_clientside.no_update;
      },
    },
  });

  // While a request goes on, the clock is stopped (`running` of the callback `show`). Where no whole answer comes, Dash
  // leaves it stopped: the page would never look again.
  const request = window.fetch;
  window.fetch = async function (...asked) {
    try {
      const answer = await request(...asked);
      await answer.clone().arrayBuffer();
      return answer;
    } catch (error) {
      const { set_props } = window.dash_clientside;
      if (set_props) set_props("clock", { disabled: false });
      throw error;
    }
  };

  window.addEventListener("resize", function () {
    if (described === null || figureWidth() === width) return;
    width = figureWidth();
    draw("body", described.body);
  });

  document.addEventListener("click", function (event) {
    const button = event.target.closest("button.csv");
    const plot = button && button.closest("figure").querySelector(".js-plotly-plot");
    if (plot) window.mtlabFigures.save(plot, button.dataset.name);
  });

  dark.addEventListener("change", function () {
    window.dash_clientside.set_props("system", { data: dark.matches });
  });
})();
