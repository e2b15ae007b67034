// Icons as SVG elements. They are decorative: a text or a label beside them has the meaning.

const PATHS = {
  back: "M15 5l-7 7 7 7",
  both: "M2 12.5l4.5 4.5L16 7.5M12 16l1 1 9-9.5",
  check: "M5 12.5l4.5 4.5L19 7.5",
  clock: "M12 7v5l3 2M12 3a9 9 0 1 1 0 18 9 9 0 0 1 0-18Z",
  close: "M6 6l12 12M18 6L6 18",
  down: "M12 5v14M6 13l6 6 6-6",
  leave: "M10 4H5v16h5M15 8l4 4-4 4M19 12H9",
  edit: "M4 20h4L19 9l-4-4L4 16ZM13 7l4 4",
  lattice: "M12 3l9 9-9 9-9-9ZM7.5 7.5l9 9M16.5 7.5l-9 9",
  more: "M6 12v.01M12 12v.01M18 12v.01",
  people: "M9 5a3.5 3.5 0 1 1 0 7 3.5 3.5 0 0 1 0-7ZM3 20c0-4 2.5-6 6-6s6 2 6 6M16 5.5a3 3 0 0 1 0 6M17.5 14.5c2.3.7 3.5 2.6 3.5 5.5",
  plus: "M12 5v14M5 12h14",
  search: "M11 4a7 7 0 1 1 0 14 7 7 0 0 1 0-14ZM16 16l4.5 4.5",
  send: "M4 12l16-8-5 16-3-7Z",
  warning: "M12 4l9 16H3ZM12 10v4M12 17v.01",
} as const;

export type IconName = keyof typeof PATHS;

const SVG = "http://www.w3.org/2000/svg";

export function icon(name: IconName): SVGSVGElement {
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", PATHS[name]);
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", "icon");
  svg.setAttribute("aria-hidden", "true");
  svg.append(path);
  return svg;
}
