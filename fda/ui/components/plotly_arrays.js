// A patch of plotly.js, kept because updates of the run page would miss their limit of 100 ms without it: an update takes the browser
// 64 to 77 ms with it (docs/results.md), and 1.4 times as long without it (side by side, medians of 12).
//
// At each draw plotly.js searches a curve's schema for attributes that hold arrays, which takes over half a millisecond per
// curve. The result depends only on which fields of the curve hold arrays, so it is cached per set of such fields.

function rememberArrays(schema) {
  const search = schema.findArrayAttributes;
  const known = new Map();
  const arrays = (part, path) =>
    Object.entries(part).flatMap(([name, value]) => {
      if (name.startsWith("_")) return [];
      if (Array.isArray(value) || ArrayBuffer.isView(value)) return [path + name];
      return value?.constructor === Object ? arrays(value, path + name + ".") : [];
    });
  schema.findArrayAttributes = (trace) => {
    if (trace.type !== "scatter") return search(trace); // other types may hold arrays of objects with arrays
    const fields = arrays(trace, "").join();
    if (!known.has(fields)) known.set(fields, search(trace));
    return known.get(fields);
  };
}
