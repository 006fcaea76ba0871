// Reads charts out by pointer and keys, moves the two drawings of a network together, opens what is folded for paper.
(() => {
  "use strict";

  for (const figure of document.querySelectorAll("figure[data-readout]")) {
    const rows = [...figure.querySelectorAll("tbody tr")];
    const heads = [...figure.querySelectorAll("thead th")].map((head) => head.textContent);
    const readout = figure.querySelector(".readout");
    const cursors = [...figure.querySelectorAll(".cursor")];
    let place = -1;

    const show = (next) => {
      place = Math.max(0, Math.min(rows.length - 1, next));
      const cells = [...rows[place].children].map((cell) => cell.textContent);
      readout.textContent = cells.map((cell, n) => (n ? `${heads[n]} ${cell}` : cell)).join(" · ");
      for (const cursor of cursors) {
        const at = cursor.dataset.at.split(" ")[place];
        cursor.setAttribute("x1", at);
        cursor.setAttribute("x2", at);
        cursor.classList.add("on");
      }
    };

    figure.querySelector(".walk").hidden = false;
    for (const button of figure.querySelectorAll("button[data-step]")) {
      button.addEventListener("click", () => show(place + Number(button.dataset.step)));
    }
    for (const svg of figure.querySelectorAll(".chart svg")) {
      svg.addEventListener("pointermove", (event) => {
        const box = svg.getBoundingClientRect();
        const x = ((event.clientX - box.left) / box.width) * svg.viewBox.baseVal.width;
        const places = svg.querySelector(".cursor").dataset.at.split(" ").map(Number);
        const nearest = places.reduce((best, at, n) => (Math.abs(at - x) < Math.abs(places[best] - x) ? n : best), 0);
        if (nearest !== place) show(nearest);
      });
    }
  }

  for (const pair of document.querySelectorAll(".networks")) {
    const lists = [...pair.querySelectorAll(".network")];
    const mark = (tensor, on) => {
      for (const item of pair.querySelectorAll("li")) item.classList.toggle("same", on && item.dataset.tensor === tensor);
    };
    for (const list of lists) {
      list.addEventListener("pointerover", (event) => {
        const item = event.target.closest("li");
        if (item) mark(item.dataset.tensor, true);
      });
      list.addEventListener("pointerleave", () => mark("", false));
      list.addEventListener("scroll", () => {
        if (!list.matches(":hover, :focus")) return;
        const share = list.scrollTop / Math.max(1, list.scrollHeight - list.clientHeight);
        for (const other of lists) {
          if (other !== list) other.scrollTop = share * (other.scrollHeight - other.clientHeight);
        }
      });
    }
  }

  for (const button of document.querySelectorAll("button.png")) {
    button.hidden = false;
    button.addEventListener("click", () => save(button.closest("figure")));
  }

  function save(figure) {
    const drawn = [...figure.querySelectorAll(".chart svg")].find((svg) => svg.getClientRects().length);
    const copy = drawn.cloneNode(true);
    const from = drawn.querySelectorAll("*");
    copy.querySelectorAll("*").forEach((node, n) => {
      const look = getComputedStyle(from[n]);
      for (const name of ["fill", "stroke", "stroke-width", "stroke-dasharray", "font", "text-anchor", "opacity", "visibility"]) {
        node.style.setProperty(name, look.getPropertyValue(name));
      }
    });
    copy.setAttribute("xmlns", "http://www.w3.org/2000/svg");
    const image = new Image();
    image.onload = () => {
      const canvas = document.createElement("canvas");
      const { width, height } = drawn.viewBox.baseVal;
      canvas.width = 2 * width;
      canvas.height = 2 * height;
      const pen = canvas.getContext("2d");
      pen.fillStyle = getComputedStyle(document.body).getPropertyValue("--paper");
      pen.fillRect(0, 0, canvas.width, canvas.height);
      pen.drawImage(image, 0, 0, canvas.width, canvas.height);
      const link = document.createElement("a");
      link.download = `${figure.querySelector("figcaption").textContent.slice(0, 60)}.png`;
      link.href = canvas.toDataURL("image/png");
      link.click();
    };
    image.src = `data:image/svg+xml,${encodeURIComponent(new XMLSerializer().serializeToString(copy))}`;
  }

  const opened = [];
  window.addEventListener("beforeprint", () => {
    opened.push(...[...document.querySelectorAll("details:not([open])")].filter((part) => part.querySelectorAll("tr").length < 100));
    for (const part of opened) part.open = true;
  });
  window.addEventListener("afterprint", () => {
    for (const part of opened.splice(0)) part.open = false;
  });
})();
