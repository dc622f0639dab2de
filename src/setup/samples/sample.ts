/** Rows that show what a job does, for the demo. */
export interface Sample {
  title: string;
  /** What this business wants, in a line. */
  story: string;
  /** Where its events are heard. */
  channel: string;
  /** The statement that puts the rows in; :now is the moment the demo begins. */
  fill: string;
  /** A query for what to watch, in a fixed order: columns of text, the last one a remark on why the row is there. */
  show: string;
}
