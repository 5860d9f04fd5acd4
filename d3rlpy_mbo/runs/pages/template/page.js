"use strict";
// Each chart is in the page as a drawing. Where scripts run, it is drawn anew to answer
// the pointer, and as wide as there is room; if that fails, the drawing stays.
document.querySelector(".hint").hidden = false;
for (const figure of document.querySelectorAll("figure")) {
  const spec = JSON.parse(figure.querySelector("script").textContent);
  const plot = figure.querySelector(".plot");
  const drawing = plot.innerHTML;
  let width = 0;
  const draw = () => {
    const room = Math.floor(plot.clientWidth);
    // On paper the browser scales; a redraw would show again what was hidden.
    if (room < 1 || Math.abs(room - width) < 16 || matchMedia("print").matches) return;
    width = room;
    // Fewer names beside each other where they would not fit.
    for (const layer of spec.layer || [])
      for (const channel of Object.values(layer.encoding))
        if (channel.legend && channel.legend.columns) {
          channel.columns ??= channel.legend.columns;
          const share = Math.min(1, room / spec.width);
          channel.legend.columns = Math.max(1, Math.floor(channel.columns * share));
        }
    const sized = { ...spec, width: spec.usermeta.grows ? Math.min(room, 900) : Math.min(room, spec.width) };
    vegaEmbed(plot, sized, { actions: false, renderer: "svg", defaultStyle: false })
      .then(() => figure.classList.add("alive"))
      .catch((error) => {
        plot.innerHTML = drawing;
        console.error(error);
      });
  };
  draw();
  let waiting;
  new ResizeObserver(() => {
    clearTimeout(waiting);
    waiting = setTimeout(draw, 200);
  }).observe(plot);
}
