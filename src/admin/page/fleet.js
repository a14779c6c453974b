// All nodes, compared with this one.

/// When a node was seen first with other keys than this one, by its name; it is no state of the node's own.
const differing = new Map();

/// `all` are the nodes with `differs_since` and `is_behind`; `others` those that are not this one.
export function fleet({ overview, answers, clock }) {
  const data = answers.data("nodes");
  const rows = data?.nodes ?? [];
  const own = rows.find((node) => node.node === overview.node);
  const living = rows.filter((node) => !node.gone_since);
  const digest = own?.digest ?? mostOf(living.map((node) => node.digest));
  const newest = Math.max(0, ...living.map((node) => node.revision));
  const all = rows.map((node) => {
    const differs = !node.gone_since && node.digest !== digest;
    if (!differs) differing.delete(node.node);
    else if (!differing.has(node.node)) differing.set(node.node, clock);
    // The same keys can have been read at different revisions of a store that counts other keys too.
    return { ...node, differs_since: differing.get(node.node), is_behind: differs && node.revision < newest };
  });
  const isOther = (node) => node.node !== overview.node;
  return { problem: data?.problem, all, others: all.filter(isOther), living: living.length };
}

function mostOf(values) {
  const times = new Map();
  for (const value of values) times.set(value, (times.get(value) ?? 0) + 1);
  return [...times].sort((a, b) => b[1] - a[1])[0]?.[0];
}
