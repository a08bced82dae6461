// A patch of plotly.js, kept because the limit of 100 ms for an update of Watch would be missed without it: an update takes the
// browser 64 to 77 ms with it (docs/results.md), and 1.4 times as long without it (side by side, medians of 12).
//
// At each draw plotly.js searches a curve's schema for the attributes that hold arrays, more than half a millisecond a curve.
// The answer depends only on which fields of the curve hold arrays, so the search is done once for each set of them.

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
    if (trace.type !== "scatter") return search(trace); // others may hold arrays of objects that hold arrays
    const fields = arrays(trace, "").join();
    if (!known.has(fields)) known.set(fields, search(trace));
    return known.get(fields);
  };
}
