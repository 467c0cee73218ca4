"use strict";
// Draws the page's figures as its selectors say: when they come into sight, and again when the theme changes.
(() => {
  const templates = JSON.parse(document.getElementById("templates").textContent);
  const darkness = matchMedia("(prefers-color-scheme: dark)");
  const reduced = matchMedia("(pointer: coarse)").matches;
  const config = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] };
  const { arrange, merge, save } = window.mtlabFigures;
  const PAPER = 660; // pixels between the margins of a sheet
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
      section.querySelector("button.csv").addEventListener("click", () => save(this.plot, this.name()));
    }

    name() {
      return [this.section.id, ...[...this.section.querySelectorAll("select")].map((each) => each.value)].filter(Boolean).join("-");
    }

    chosen(key) {
      return this.section.querySelector(`[data-choice="${key}"]`)?.value;
    }

    figure() {
      const key = this.known.choices.map((choice) =>
        choice.key === "kind" ? chosenKind() : (this.chosen(choice.key) ?? choice.options[0]));
      return this.known.figures[JSON.stringify(key)];
    }

    draw() {
      this.seen = true;
      const figure = this.figure();
      if (!figure || figure.why !== undefined) {
        Plotly.purge(this.plot);
        this.caption.textContent = figure ? figure.why : "There is no such figure.";
        this.section.dataset.drawn = "empty";
        return;
      }
      const template = templates[darkness.matches && !printing ? "dark" : "light"];
      const clear = { paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)" };
      let layout = { ...structuredClone(figure.layout), template, ...clear, dragmode: reduced ? false : "zoom" };
      for (const [key, options] of Object.entries(this.known.layouts)) layout = merge(layout, options[this.chosen(key)]);
      this.width = printing ? PAPER : this.plot.parentElement.clientWidth;
      layout = arrange(layout, figure.arrangements, this.width);
      if (printing) layout.width = PAPER;
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
  addEventListener("resize", () => {
    for (const gallery of galleries) if (gallery.seen && gallery.width !== gallery.plot.parentElement.clientWidth) gallery.draw();
  });
  addEventListener("beforeprint", () => {
    printing = true;
    galleries.filter((gallery) => gallery.section.offsetParent).forEach((gallery) => gallery.draw());
  });
  addEventListener("afterprint", () => {
    printing = false;
    again();
  });

  // Tables of examples: filtered by what their lines carry, in pages.
  const LINES = 20;
  for (const bar of document.querySelectorAll(".filters")) {
    const lines = [...bar.parentElement.querySelectorAll("tbody tr")];
    const selects = [...bar.querySelectorAll("select")];
    const buttons = [...bar.querySelectorAll("button")];
    let page = 0;
    const show = () => {
      const fits = (line) => {
        const carried = line.querySelector("[data-family]").dataset;
        return selects.every((select) => !select.value || carried[select.dataset.filter] === select.value);
      };
      const kept = lines.filter(fits);
      const pages = Math.max(1, Math.ceil(kept.length / LINES));
      page = Math.min(Math.max(page, 0), pages - 1);
      const shown = new Set(kept.slice(page * LINES, (page + 1) * LINES));
      for (const line of lines) line.hidden = !shown.has(line);
      bar.querySelector(".page").textContent = `${kept.length} examples, page ${page + 1} of ${pages}`;
      buttons.forEach((button) => (button.disabled = page + Number(button.dataset.turn) < 0 || page + Number(button.dataset.turn) >= pages));
    };
    selects.forEach((select) => select.addEventListener("change", () => ((page = 0), show())));
    buttons.forEach((button) => button.addEventListener("click", () => ((page += Number(button.dataset.turn)), show())));
    show();
  }
})();
