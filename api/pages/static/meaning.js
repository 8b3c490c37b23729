/** What a score says, in words. */

/** "right about 8 times in 10 at this score": a calibrated score is the share of right answers. */
export function meaning(score) {
  if (score >= 0.95) return `right about ${Math.min(99, Math.round(score * 100))} times in 100 at this score`;
  const times = Math.round(score * 10);
  if (times === 0) return "right less than once in 10 at this score";
  if (times === 1) return "right about once in 10 at this score";
  return `right about ${times} times in 10 at this score`;
}
