"use strict";
// Shows which level each word and each patch of an example draws on, and the parts of all levels of the one in focus.
(() => {
  const made = (tag, properties = {}, ...children) => {
    const element = Object.assign(document.createElement(tag), properties);
    element.append(...children);
    return element;
  };
  const chosenKind = () => document.querySelector("input[name=kind]:checked")?.value ?? "contributions";

  class Tokens {
    constructor(section) {
      this.section = section;
      this.known = JSON.parse(section.querySelector(".known").textContent);
      this.select = (key) => section.querySelector(`[data-choice=${key}]`);
      this.place = (name) => section.querySelector(`.${name}`);
      this.fill("run", this.known.runs.map((run, at) => [at, run.title]));
      this.select("run").value = this.known.start;
      this.first = this.known.runs[this.known.start].first;
      this.fresh = true;
      for (const key of ["run", "example", "layer"]) this.select(key).addEventListener("change", () => this.draw());
      for (const input of document.querySelectorAll("input[name=kind]")) input.addEventListener("change", () => this.draw());
      this.draw();
    }

    fill(key, options) {
      const select = this.select(key), before = select.value;
      select.replaceChildren(...options.map(([value, textContent]) => made("option", { value, textContent })));
      if (options.some(([value]) => String(value) === before)) select.value = before;
      select.parentElement.hidden = options.length < 2;
    }

    draw() {
      const run = this.known.runs[Number(this.select("run").value)];
      this.fill("example", run.examples.map((each) => [each.id, `${each.text} (${each.family})`]));
      if (this.first !== null) this.select("example").value = this.first;
      this.first = null;
      const example = run.examples.find((each) => each.id === this.select("example").value);
      const keys = Object.keys(example.parts);
      const depths = [...new Set(keys.map((key) => Number(key.split("/")[2])))].sort((a, b) => a - b);
      const word = run.first_layer ? "cross-modal layer" : "layer of the language model";
      this.fill("layer", depths.map((depth) => [depth, `${word} ${depth + run.first_layer}`]));
      if (this.fresh && depths.length) this.select("layer").value = depths.at(-1);  // the first one weighs all tokens alike
      this.fresh = false;
      const depth = this.select("layer").value;
      this.tell(example);
      const kind = chosenKind();
      this.draws("words", run, "text", kind, example.parts[`${kind}/text/${depth}`], example.tokens, null);
      const names = (number, grid) => {
        const at = grid ? number - grid[2] : -1;
        const within = grid && at >= 0 && at < grid[0] * grid[1];
        return within ? `patch ${Math.floor(at / grid[1]) + 1}, ${(at % grid[1]) + 1}` : `token ${number + 1}`;
      };
      const parts = example.parts[`${kind}/image/${depth}`];
      const words = (parts ?? []).map((_, number) => names(number, run.grid));
      this.draws("patches", run, "image", kind, parts, words, this.known.pictures[example.picture]);
      const removed = kind === "contributions" && run.removed.some((where) => where.endsWith(`/${depth}`));
      this.place("shares").replaceChildren(removed ? this.known.removed : this.known.meant[kind]);
    }

    tell(example) {
      const told = this.place("told");
      const about = [example.family, example.id].filter(Boolean).join(", ");
      told.replaceChildren(made("q", { textContent: example.text }), ` ${about}`);
      if (example.prediction !== null) {
        const right = example.truth === null ? null : example.truth === example.prediction;
        const mark = right === null ? "" : right ? "✓ " : "✗ ";
        told.append(made("br"), made("b", { textContent: `${mark}answers ${example.prediction}` }));
        if (right === false) told.append(`, right: ${example.truth}`);
      } else if (example.truth !== null) {
        told.append(made("br"), `right: ${example.truth}`);
      }
    }

    draws(name, run, modality, kind, parts, words, picture) {
      const place = this.place(name);
      place.replaceChildren();
      place.previousElementSibling.hidden = false;
      if (!parts) {
        place.append(made("p", { className: "missing", textContent: `This manager has no ${kind} here.` }));
        return;
      }
      const levels = run.levels[modality], colours = run.colours[modality];
      const tokens = parts.map((numbers, at) => this.token(words[at] ?? `token ${at + 1}`, numbers, levels, colours));
      for (const token of tokens.filter((each) => each.colour)) {
        token.button.style.setProperty("--level", token.colour);
        token.button.style.setProperty("--strength", `${100 * Math.sqrt(Math.max(0, token.strength))}%`);
      }
      const grid = modality === "image" ? run.grid : null;
      const within = (at) => grid !== null && at >= grid[2] && at < grid[2] + grid[0] * grid[1];
      const loose = tokens.filter((_, at) => !within(at)).map((token) => token.button);
      if (loose.length) place.append(this.group(loose, "line", 1));
      if (grid !== null) place.append(this.pictures(tokens.filter((_, at) => within(at)), grid, picture));
      place.append(this.key(levels, colours, tokens));
    }

    token(word, parts, levels, colours) {
      // level and strength are of recording/token_levels.py; `shares` are of the levels, then of the previous states
      const [at, strength, ...shares] = parts, previous = at === null;
      const button = made("button", { type: "button", className: previous ? "token previous" : "token", tabIndex: -1 });
      button.append(made("span", { textContent: word }), made("sub", { textContent: previous ? "–" : levels[at] }));
      button.setAttribute("aria-label", `${word}: ${previous ? "previous state alone" : `level ${levels[at]}`}`);
      const show = () => this.show(word, shares, levels, colours);
      button.addEventListener("focus", show);
      button.addEventListener("mouseenter", show);
      button.addEventListener("click", show);
      return { button, strength: strength / 1000, colour: previous ? null : colours[at], level: previous ? null : levels[at], shares };
    }

    group(buttons, className, columns) {
      // One stop for Tab, then the arrow keys: a picture may have hundreds of patches.
      const group = made("div", { className });
      group.setAttribute("role", "group");
      group.append(...buttons);
      if (buttons.length) buttons[0].tabIndex = 0;
      const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns };
      group.addEventListener("keydown", (event) => {
        const at = buttons.indexOf(event.target), next = buttons[at + (steps[event.key] ?? 0)];
        if (!(event.key in steps) || !next) return;
        event.preventDefault();
        buttons.forEach((button) => (button.tabIndex = -1));
        next.tabIndex = 0;
        next.focus();
      });
      return group;
    }

    pictures(tokens, grid, picture) {
      const pair = made("div", { className: "pair" });
      const laid = this.group(tokens.map((token) => token.button), "grid", grid[1]);
      laid.style.setProperty("--columns", grid[1]);
      laid.style.setProperty("--rows", grid[0]);
      if (picture?.uri) {
        const image = made("img", { src: picture.uri, alt: "The picture of this example" });
        pair.append(image);
        laid.style.backgroundImage = `linear-gradient(rgba(128,128,128,.45), rgba(128,128,128,.45)), url("${picture.uri}")`;
        laid.style.aspectRatio = `${picture.width} / ${picture.height}`;
      } else {
        pair.append(made("p", { className: "missing", textContent: picture?.why ?? "The picture is not here." }));
        laid.style.aspectRatio = `${grid[1]} / ${grid[0]}`;
      }
      pair.append(laid);
      return pair;
    }

    key(levels, colours, tokens) {
      const list = made("ul", { className: "key" });
      levels.forEach((level, at) => {
        const count = tokens.filter((token) => token.level === level).length;
        const swatch = made("i");
        swatch.style.background = colours[at];
        if (tokens.some((token) => token.shares[at] !== null)) list.append(made("li", {}, swatch, `level ${level}: ${count} of ${tokens.length}`));
      });
      const below = tokens.filter((token) => token.shares.length > levels.length).map((token) => token.shares[levels.length]);
      if (below.length) {
        const mean = below.reduce((sum, share) => sum + share, 0) / below.length / 1000;
        list.append(made("li", {}, made("i", { className: "previous" }), `previous state: ${mean.toFixed(2)} on average`));
      }
      return list;
    }

    show(word, shares, levels, colours) {
      const rows = shares.map((share, at) => {
        const previous = at >= levels.length, bar = made("i", { className: previous ? "previous" : "" });
        bar.style.width = `${Math.min(100, Math.abs(share / 10))}%`;
        if (!previous) bar.style.background = colours[at];
        const name = previous ? "previous" : `level ${levels[at]}`;
        return made("li", {}, made("span", { textContent: name }), made("b", {}, bar), share === null ? "–" : (share / 1000).toFixed(3));
      });
      this.place("shares").replaceChildren(made("strong", { textContent: word }), made("ul", {}, ...rows));
    }
  }

  document.querySelectorAll(".tokens").forEach((section) => new Tokens(section));
})();
