// Draws each plot when it comes into view, in the colours of the scheme the reader uses, and again in light ones for paper.
(() => {
  "use strict";
  const specs = JSON.parse(document.getElementById("specs").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const light = { ink: "#1d242b", grid: "#dde2e7", line: "#98a2ad", paper: "#ffffff" };
  const night = { ink: "#e3e8ed", grid: "#2c343c", line: "#66727e", paper: "#171c21" };
  const config = { displaylogo: false, responsive: true, showSendToCloud: false, modeBarButtonsToRemove: ["select2d", "lasso2d"] };
  const drawn = new Set();

  function axis(colors, own) {
    const look = { gridcolor: colors.grid, linecolor: colors.line, tickcolor: colors.line, showline: true, ticks: "outside", ...own };
    return own.type === "log" ? look : { ...look, dtick: undefined }; // D2 means nothing on a linear scale
  }

  function coloured(layout, colors) {
    return {
      ...layout,
      font: { family: "system-ui, sans-serif", size: 13, color: colors.ink },
      paper_bgcolor: colors.paper,
      plot_bgcolor: colors.paper,
      modebar: { bgcolor: "rgba(0,0,0,0)", color: colors.line, activecolor: colors.ink },
      hoverlabel: { align: "left", namelength: -1 },
      xaxis: axis(colors, layout.xaxis),
      yaxis: axis(colors, layout.yaxis),
    };
  }

  function draw(place, colors) {
    const spec = specs[place.id];
    window.Plotly.react(place, spec.data, coloured(spec.layout, colors), config);
    drawn.add(place);
  }

  const current = () => (dark.matches ? night : light);
  const places = [...document.querySelectorAll(".plot")];
  const watcher = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (entry.isIntersecting) {
        watcher.unobserve(entry.target);
        draw(entry.target, current());
      }
    }
  }, { rootMargin: "600px" });
  places.forEach((place) => watcher.observe(place));

  dark.addEventListener("change", () => drawn.forEach((place) => draw(place, current())));
  window.addEventListener("beforeprint", () => {
    document.querySelectorAll("details.part").forEach((part) => { part.open = true; });
    places.forEach((place) => draw(place, light));
  });
  window.addEventListener("afterprint", () => drawn.forEach((place) => draw(place, current())));

  for (const button of document.querySelectorAll("button[data-plot]")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      const place = document.getElementById(button.dataset.plot);
      const chosen = specs[place.id].layout[button.dataset.axis];
      chosen.type = chosen.type === "log" ? "linear" : "log";
      button.setAttribute("aria-pressed", String(chosen.type === "log"));
      draw(place, current());
    });
  }
})();
