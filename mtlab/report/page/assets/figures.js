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

  // The name of the line at a place of a vertical axis; dots of single seeds lie a little below their line.
  function lineAt(layout, trace, y) {
    const { ticktext, tickvals } = axisOf(layout, trace.yaxis, "y");
    if (!ticktext || typeof y !== "number" || values(tickvals).some((place, at) => place !== at)) return y;
    return ticktext[Math.round(y - 0.01)] ?? y;
  }

  const plain = (value) => String(value ?? "").replace(/<br>/g, " ").replace(/&lt;/g, "<").replace(/&gt;/g, ">").replace(/&amp;/g, "&");

  // The numbers that are shown, a line each: hidden variants and bands are left out. Where places or colours are not
  // the numbers, traces carry these in `meta`, and what single points are in `ids`.
  function rows(data, layout) {
    const lines = [["panel", "name", "x", "y", "value", "low", "high"]];
    for (const trace of data) {
      if (trace.visible === "legendonly" || trace.visible === false || trace.hoverinfo === "skip") continue;
      const panel = layout.meta?.panels?.[trace.yaxis ?? "y"] ?? "";
      const [xs, ys] = [values(trace.x), values(trace.y)];
      if (trace.type === "heatmap") {
        values(trace.z).forEach((row, down) =>
          values(row).forEach((value, across) => {
            const shown = trace.meta?.values ? trace.meta.values[down][across] : value;
            lines.push([panel, trace.name, xs[across], ys[down], shown, "", ""]);
          }));
        continue;
      }
      xs.forEach((x, at) => {
        if (x === null || ys[at] === null) return;
        const name = [trace.name, trace.ids?.[at]].filter(Boolean).join(", ");
        const error = trace.error_x?.array ? [x, trace.error_x] : trace.error_y?.array ? [ys[at], trace.error_y] : null;
        const ends = error ? [error[0] - (error[1].arrayminus ?? error[1].array)[at], error[0] + error[1].array[at]] : ["", ""];
        lines.push([panel, name, trace.meta?.x ?? x, lineAt(layout, trace, ys[at]), "", ...ends]);
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
