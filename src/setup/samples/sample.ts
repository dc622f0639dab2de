/** Rows that show what a job does, for the demo. */
export interface Sample {
  title: string;
  /** The aim of this business, in a line. */
  story: string;
  /** Its events are heard here. */
  channel: string;
  /** The statement that puts the rows in; :now is the moment the demo begins. */
  fill: string;
  /** A query for what to watch, in a fixed order: columns of text, the last one a remark on why the row is there. */
  show: string;
}
