{
  // Browsers keep few WebGL contexts: a map has some only while it is in sight. Without WebGL, maps are drawn as SVG.
  const type = document.createElement("canvas").getContext("webgl") ? "scattergl" : "scatter";
  const figures = [...document.querySelectorAll(".map")];
  const seen = new WeakMap();
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

  const points = (figure) => {
    if (!seen.has(figure)) seen.set(figure, JSON.parse(figure.querySelector("script").textContent));
    return seen.get(figure);
  };

  function layer(map, by, drawn, marker) {
    const chosen = (i) => map.round_colours[map.rounds[i]] ?? css("--soft");
    const colour = by === "group" ? (i) => map.group_colours[map.groups[i]] : chosen;
    const places = map.ids.map((_, i) => i).filter((i) => drawn(map.rounds[i]));
    return {
      type, mode: "markers", hoverinfo: "none", customdata: places,
      x: places.map((i) => map.x[i]), y: places.map((i) => map.y[i]),
      marker: { ...marker, color: places.map(colour) },
    };
  }

  function draw(figure) {
    const map = points(figure);
    const by = figure.querySelector("select").value;
    const outline = { color: css("--ink"), width: 1.5 };
    const data = [
      layer(map, by, (round) => round === null, { size: 5, opacity: 0.6 }),
      layer(map, by, (round) => round > 0, { size: 9, line: outline }),
      layer(map, by, (round) => round === 0, { size: 16, symbol: "star", line: outline }),
    ];
    const axis = (text) => ({ title: { text: escaped(text) }, zeroline: false, automargin: true });
    const layout = {
      xaxis: axis(map.x_axis), yaxis: axis(map.y_axis), hovermode: "closest", showlegend: false, uirevision: "kept",
      margin: { l: 56, r: 16, t: 12, b: 48 }, paper_bgcolor: "transparent", plot_bgcolor: "transparent",
    };
    const plot = figure.querySelector(".plot");
    const fresh = !plot.data;
    Plotly.react(plot, data, layout, { responsive: true, displayModeBar: false });
    if (fresh) {
      plot.on("plotly_hover", ({ points: [point] }) => peek(figure, plot, point));
      plot.on("plotly_unhover", () => { figure.querySelector(".peek").hidden = true; });
    }
    for (const part of figure.querySelectorAll("[data-by]")) part.hidden = part.dataset.by !== by;
  }

  // Plotly reads a small dialect of HTML in its texts.
  const escaped = (text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  const number = (value) => String(Number(value.toPrecision(4)));

  // The box beside a point: its image, where there is one, and what is known of it.
  function peek(figure, plot, { customdata: i, bbox }) {
    const map = points(figure);
    const box = figure.querySelector(".peek");
    const tag = (name, text) => Object.assign(document.createElement(name), { textContent: text });
    const parts = [
      tag("b", map.names[i] ?? `image ${map.ids[i]}`), tag("span", `${map.group} ${map.group_names[map.groups[i]]}`),
      tag("span", `${map.x_axis}: ${number(map.x[i])}`), tag("span", `${map.y_axis}: ${number(map.y[i])}`),
    ];
    if (map.rounds[i] !== null) parts.push(tag("span", `chosen in round ${map.rounds[i]}`));
    if (map.tiles[i]) parts.unshift(document.createElement("i"));
    box.replaceChildren(...parts);
    box.hidden = false;
    const image = box.querySelector("i");
    const [column, row] = map.tiles[i] ?? [];
    if (image) image.style.backgroundPosition = `${-column * image.offsetWidth}px ${-row * image.offsetHeight}px`;
    // Plotly counts from the figure, as the box does.
    const left = bbox.x0 < plot.offsetWidth / 2 ? bbox.x1 + 10 : bbox.x0 - box.offsetWidth - 10;
    const top = (bbox.y0 + bbox.y1 - box.offsetHeight) / 2;
    box.style.left = `${Math.max(0, left)}px`;
    box.style.top = `${Math.max(0, top)}px`;
  }

  function clear(figure) {
    const plot = figure.querySelector(".plot");
    if (plot.data) Plotly.purge(plot);
    figure.querySelector(".peek").hidden = true;
  }

  const watch = new IntersectionObserver((entries) => {
    for (const { target, isIntersecting } of entries) (isIntersecting ? draw : clear)(target);
  });
  const drawn = () => figures.filter((figure) => figure.querySelector(".plot").data);
  for (const figure of figures) {
    watch.observe(figure);
    figure.querySelector("select").addEventListener("change", () => draw(figure));
  }
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => drawn().forEach(draw));
  addEventListener("beforeprint", () => figures.filter((figure) => figure.offsetParent).forEach(draw));
}
