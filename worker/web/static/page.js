"use strict";

// The trend as a chart, drawn from the table below it: so the two cannot disagree. What has no number there is a gap.
const drawTrend = () => {
  const place = document.getElementById("chart");
  const table = document.getElementById("trend-table");
  const legend = document.getElementById("legend");
  if (!window.uPlot) {
    legend.hidden = place.hidden = true;
    return;
  }

  const rows = [...table.tBodies[0].rows].reverse();
  const lines = [...legend.querySelectorAll("button")].map((button, index) => ({
    name: button.dataset.series,
    label: button.textContent,
    column: index + 1,
    button,
    swatch: button.querySelector(".swatch"),
    isOn: () => button.getAttribute("aria-pressed") === "true",
  }));
  const ticks = rows.map((row) => row.querySelector("time").dataset.tick);
  const values = lines.map(({ column }) =>
    rows.map((row) => {
      const found = row.cells[column].querySelector("data");
      return found ? Number(found.value) : null;
    }),
  );

  const makeElement = (name, className, text = "") => {
    const element = document.createElement(name);
    element.className = className;
    element.textContent = text;
    return element;
  };
  const number = new Intl.NumberFormat(document.documentElement.lang);

  const inkOf = ({ swatch }) => getComputedStyle(swatch).color;
  const fill = (chart, line) => {
    const { top, height } = chart.bbox;
    const gradient = chart.ctx.createLinearGradient(0, top, 0, top + height);
    const parts = inkOf(line).match(/[\d.]+/g).slice(0, 3).join(", ");
    gradient.addColorStop(0, `rgba(${parts}, 0.28)`);
    gradient.addColorStop(1, `rgba(${parts}, 0.02)`);
    return gradient;
  };
  const axis = {
    stroke: () => getComputedStyle(place).color,
    font: "12px system-ui, sans-serif",
    ticks: { show: false },
    grid: { stroke: () => getComputedStyle(place).borderTopColor, width: 1 },
  };
  const powers = [1, 10, 100, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8];
  const size = () => ({ width: place.clientWidth, height: place.clientHeight });

  // What the cursor stands on: a small card for the eyes, and for a screen reader when the keys move it.
  const tip = makeElement("div", "tip");
  const spoken = makeElement("p", "visually-hidden");
  tip.hidden = true;
  tip.setAttribute("aria-hidden", "true");
  spoken.setAttribute("role", "status");

  const dayAt = (index) => rows[index].cells[0].textContent.trim();
  const readAt = (index) =>
    lines
      .filter((line) => line.isOn())
      .map(({ name, label, column }) => {
        const cell = rows[index].cells[column];
        return { name, label, text: (cell.querySelector("data, .visually-hidden") ?? cell).textContent };
      });
  // Behind what is only a part of its day, week or month: there a line falls although nothing did.
  const shade = ({ ctx, bbox, valToPos }) => {
    ctx.fillStyle = getComputedStyle(place).textDecorationColor;
    rows.forEach((row, index) => {
      if (!row.querySelector("small")) return;
      const [from, to] = [index - 0.5, index + 0.5].map((at) => valToPos(at, "x", true));
      const left = Math.max(from, bbox.left);
      ctx.fillRect(left, bbox.top, Math.min(to, bbox.left + bbox.width) - left, bbox.height);
    });
  };
  const point = (chart) => {
    const { idx: index, left } = chart.cursor;
    tip.hidden = index == null || left < 0;
    if (tip.hidden) return;
    tip.replaceChildren(
      makeElement("p", "", dayAt(index)),
      ...readAt(index).map(({ name, label, text }) => {
        const line = makeElement("p", "");
        line.append(makeElement("span", `swatch in-${name}`), label, makeElement("b", "", text));
        return line;
      }),
    );
    const x = chart.over.offsetLeft + chart.valToPos(index, "x");
    const beside = x + 16 + tip.offsetWidth > place.clientWidth ? x - 16 - tip.offsetWidth : x + 16;
    tip.style.left = `${Math.max(0, beside)}px`;
  };

  let byTouch = false; // then the mouse that a browser makes up for it has left as soon as it came
  const chart = new uPlot(
    {
      ...size(),
      legend: { show: false },
      cursor: {
        y: false,
        drag: { x: false, y: false },
        points: { size: 9 },
        bind: { mouseleave: (_chart, _target, leave) => (event) => byTouch || leave(event) },
      },
      scales: {
        x: { time: false, range: [-0.5, rows.length - 0.5] },
        y: { range: (_, _low, high) => [0, Math.max(high * 1.08, 4)] },
      },
      axes: [
        {
          ...axis,
          grid: { show: false },
          size: 26,
          space: 72,
          incrs: [1, 2, 3, 5, 7, 10, 14, 20, 28, 40, 60, 90, 120],
          values: (_, splits) => splits.map((at) => ticks[at] ?? ""),
        },
        {
          ...axis,
          size: (_, labels) => 16 + 7 * Math.max(2, ...(labels ?? []).map((label) => label.length)),
          space: 44,
          incrs: powers.flatMap((power) => [power, 2 * power, 5 * power]),
          values: (_, splits) => splits.map((at) => number.format(at)),
        },
      ],
      series: [
        {},
        ...lines.map((line) => ({
          show: line.isOn(),
          stroke: () => inkOf(line),
          width: line.name === "before" ? 1.5 : 2.25,
          dash: line.name === "before" ? [5, 5] : undefined,
          fill: line.name === "profile_views" ? (drawn) => fill(drawn, line) : undefined,
          points: { show: rows.length <= 31 && line.name !== "before" ? true : undefined, size: 5 },
        })),
      ],
      hooks: { drawClear: [shade], setCursor: [point] },
    },
    [rows.map((_, index) => index), ...values],
    place,
  );
  place.append(tip, spoken);

  for (const { button, column, isOn } of lines) {
    button.addEventListener("click", () => {
      button.setAttribute("aria-pressed", !isOn());
      chart.setSeries(column, { show: isOn() });
    });
  }

  for (const kind of ["pointerdown", "pointermove"]) {
    chart.over.addEventListener(kind, (event) => {
      byTouch = event.pointerType === "touch";
      if (!byTouch) return; // a mouse is the library's
      chart.setCursor({ left: event.clientX - chart.over.getBoundingClientRect().left, top: 0 });
    });
  }
  place.addEventListener("keydown", (event) => {
    const last = rows.length - 1;
    const at = chart.cursor.idx ?? (event.key === "ArrowLeft" ? rows.length : -1);
    const moves = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: last };
    if (!(event.key in moves)) return;
    event.preventDefault();
    const index = Math.min(Math.max(moves[event.key], 0), last);
    chart.setCursor({ left: chart.valToPos(index, "x"), top: 0 });
    spoken.textContent = [dayAt(index), ...readAt(index).map(({ label, text }) => `${label}: ${text}`)].join(", ");
  });
  place.addEventListener("blur", () => chart.setCursor({ left: -10, top: -10 }));

  new ResizeObserver(() => chart.setSize(size())).observe(place);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => chart.redraw());
};

// Once the page has been painted: its numbers are not kept waiting, and the chart's place is already there.
requestAnimationFrame(() => setTimeout(drawTrend));
