// Draws the charts of the overview. Everything else works without it.
"use strict";
(() => {
  const nodes = [...document.querySelectorAll("[data-chart]")];
  if (nodes.length === 0 || typeof uPlot === "undefined") return;
  const color = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const perMinute = (counts, every) => counts.map((count) => (count * 60) / every);
  const millis = (times) => times.map((us) => (us === 0 ? null : us / 1000));
  const kinds = {
    traffic: (data) => ({
      labels: [["taken", "--chart-1"], ["refused", "--chart-2"]],
      rows: [perMinute(data.taken, data.every_s), perMinute(data.refused, data.every_s)],
      unit: "",
    }),
    latency: (data) => ({
      labels: [["half within", "--chart-1"], ["99 % within", "--chart-2"]],
      rows: [millis(data.p50_us), millis(data.p99_us)],
      unit: " ms",
    }),
  };
  let last = null;
  const draw = () => {
    if (last === null) return;
    const text = color("--quiet");
    const line = color("--line");
    for (const node of nodes) {
      const { labels, rows, unit } = kinds[node.dataset.chart](last);
      const axis = { stroke: text, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 } };
      const clock = (_, marks) => marks.map((mark) => new Date(mark * 1000).toISOString().slice(11, marks[1] - marks[0] < 60 ? 19 : 16));
      const values = (_, marks) => marks.map((mark) => mark + unit);
      const shown = (_, value) => (value === null || value === undefined ? "–" : value.toFixed(unit ? 1 : 0) + unit);
      const options = {
        width: Math.max(node.clientWidth, 200), height: 200, padding: [null, 30, null, null], tzDate: (s) => uPlot.tzDate(new Date(s * 1000), "Etc/UTC"),
        scales: { y: { range: (_, __, max) => [0, Math.max(max || 0, 1) * 1.1] } },
        axes: [{ ...axis, values: clock, space: 70 }, { ...axis, size: unit ? 76 : 56, values }],
        series: [{ label: "UTC", value: "{HH}:{mm}:{ss}" }].concat(labels.map(([label, name]) => ({ label, stroke: color(name), width: 2, value: shown, points: { show: false } }))),
      };
      node.replaceChildren();
      new uPlot(options, [last.at_s, ...rows], node);
    }
  };
  const load = async () => {
    try {
      const answer = await fetch("/live/traffic", { headers: { accept: "application/json" } });
      if (answer.status === 401) return location.reload();
      if (answer.ok) {
        last = await answer.json();
        draw();
      }
    } catch (_) {
      // The page stays as it is; the next attempt may succeed.
    }
    setTimeout(load, 5000);
  };
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", draw);
  let width = innerWidth;
  addEventListener("resize", () => {
    if (innerWidth !== width) {
      width = innerWidth;
      draw();
    }
  });
  load();
})();
