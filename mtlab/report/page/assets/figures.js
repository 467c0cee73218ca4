"use strict";
// What the pages of a study and the dashboard do alike with a figure: fit it to the width at hand, and save its numbers.
window.mtlabFigures = (() => {
  // Change parts of a layout: parts of parts are merged, lists are replaced.
  function merge(layout, changes) {
    const merged = { ...layout };
    for (const [key, value] of Object.entries(changes ?? {})) {
      if (/^[xy]axis/.test(key) && !(key in layout)) continue; // an axis that the figure does not have
      const part = typeof value === "object" && !Array.isArray(value);
      merged[key] = part ? { ...layout[key], ...value } : value;
    }
    return merged;
  }

  // Apply the changes of the first arrangement that fits: all panels beside one another, or fewer.
  function arrange(layout, arrangements, width) {
    const chosen = arrangements.find((each) => each.width <= width) ?? arrangements.at(-1);
    return merge(layout, chosen?.layout);
  }

  const axisOf = (layout, name, letter) => layout[`${letter}axis${(name ?? letter).slice(1)}`] ?? {};

  // The title above a panel: the annotation at the middle of its horizontal axis.
  function panelOf(layout, trace) {
    const [low, high] = axisOf(layout, trace.xaxis, "x").domain ?? [0, 1];
    const above = (layout.annotations ?? []).filter((note) => note.xref === "paper" && note.yref === "paper");
    const near = above.find((note) => Math.abs(note.x - (low + high) / 2) < 1e-3);
    const row = axisOf(layout, trace.yaxis, "y").title?.text;
    return [near?.text, row].filter(Boolean).join(": ");
  }

  const plain = (value) => String(value ?? "").replace(/<br>/g, " ").replace(/&lt;/g, "<").replace(/&gt;/g, ">").replace(/&amp;/g, "&");

  // The numbers that are shown, a line each: hidden variants and bands are left out.
  function rows(data, layout) {
    const lines = [["panel", "name", "x", "y", "value", "low", "high"]];
    for (const trace of data) {
      if (trace.visible === "legendonly" || trace.visible === false || trace.hoverinfo === "skip") continue;
      const panel = panelOf(layout, trace);
      const [xs, ys] = [values(trace.x), values(trace.y)];
      if (trace.type === "heatmap") {
        values(trace.z).forEach((row, down) =>
          values(row).forEach((value, across) => lines.push([panel, trace.name, xs[across], ys[down], value, "", ""])));
        continue;
      }
      const labels = axisOf(layout, trace.yaxis, "y");
      xs.forEach((x, at) => {
        if (x === null || ys[at] === null) return;
        const named = labels.ticktext?.[labels.tickvals?.indexOf(ys[at])];
        const error = trace.error_x?.array ? [x, trace.error_x] : trace.error_y?.array ? [ys[at], trace.error_y] : null;
        const ends = error ? [error[0] - (error[1].arrayminus ?? error[1].array)[at], error[0] + error[1].array[at]] : ["", ""];
        lines.push([panel, trace.name, x, named ?? ys[at], "", ...ends]);
      });
    }
    return lines;
  }

  // plotly.js keeps long arrays as {dtype, bdata}, and as typed arrays once it has drawn them.
  const values = (list) => (list === undefined || list === null ? [] : Array.from(list._inputArray ?? list));

  function csv(data, layout) {
    const cell = (value) => (/[",\n]/.test(plain(value)) ? `"${plain(value).replace(/"/g, '""')}"` : plain(value));
    const kept = rows(data, layout);
    const filled = kept[0].map((_, column) => column < 2 || kept.slice(1).some((row) => plain(row[column]) !== ""));
    return kept.map((row) => row.filter((_, column) => filled[column]).map(cell).join(",")).join("\n") + "\n";
  }

  // Save what a plot shows as NAME.csv.
  function save(plot, name) {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([csv(plot.data, plot.layout)], { type: "text/csv" }));
    link.download = `${name.replace(/[^\w.]+/g, "-")}.csv`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  return { arrange, csv, merge, save };
})();
