"use strict";
// Draws the page's figures as its selectors say: when they come into sight, and again when the theme changes.
(() => {
  const templates = JSON.parse(document.getElementById("templates").textContent);
  const darkness = matchMedia("(prefers-color-scheme: dark)");
  const reduced = matchMedia("(pointer: coarse)").matches;
  const config = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
  let printing = false;

  const chosenKind = () => document.querySelector("input[name=kind]:checked")?.value ?? "contributions";

  class Gallery {
    constructor(section) {
      this.section = section;
      this.known = JSON.parse(section.querySelector(".figures").textContent);
      this.plot = section.querySelector(".plot");
      this.caption = section.querySelector("figcaption");
      this.seen = false;
      for (const select of section.querySelectorAll("select")) select.addEventListener("change", () => this.draw());
    }

    figure() {
      const key = this.known.choices.map((choice) => {
        if (choice.key === "kind") return chosenKind();
        return this.section.querySelector(`[data-choice="${choice.key}"]`)?.value ?? choice.options[0];
      });
      return this.known.figures[JSON.stringify(key)];
    }

    draw() {
      this.seen = true;
      const figure = this.figure();
      if (!figure || figure.why !== undefined) {
        Plotly.purge(this.plot);
        this.plot.style.minWidth = "";
        this.caption.textContent = figure ? figure.why : "There is no such figure.";
        this.section.dataset.drawn = "empty";
        return;
      }
      const template = templates[darkness.matches && !printing ? "dark" : "light"];
      const clear = { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)" };
      const layout = { ...structuredClone(figure.layout), template, ...clear, dragmode: reduced ? false : "zoom" };
      this.plot.style.minWidth = `${figure.width}px`;
      this.plot.style.height = `${layout.height}px`;
      Plotly.react(this.plot, structuredClone(figure.data), layout, config);
      this.caption.textContent = figure.caption;
      this.section.dataset.drawn = "yes";
    }
  }

  const galleries = [...document.querySelectorAll(".gallery")].map((section) => new Gallery(section));
  const bySection = new Map(galleries.map((gallery) => [gallery.section, gallery]));
  const again = () => galleries.filter((gallery) => gallery.seen).forEach((gallery) => gallery.draw());

  const sight = new IntersectionObserver(
    (entries) => {
      for (const entry of entries) {
        const gallery = bySection.get(entry.target);
        if (entry.isIntersecting && !gallery.seen) gallery.draw();
      }
    },
    { rootMargin: "600px" },
  );
  galleries.forEach((gallery) => sight.observe(gallery.section));
  for (const input of document.querySelectorAll("input[name=kind]")) input.addEventListener("change", again);
  darkness.addEventListener("change", again);
  addEventListener("beforeprint", () => {
    printing = true;
    document.querySelectorAll("details").forEach((each) => (each.open = true));
    galleries.forEach((gallery) => gallery.draw());
  });
  addEventListener("afterprint", () => {
    printing = false;
    again();
  });
})();
