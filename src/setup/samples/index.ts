import { readdirSync } from 'node:fs';

/** Rows that show what a job does, for the demo. As with jobs, a new one is one file in this folder. */
export interface Sample {
  /** Which job acts on them. */
  job: string;
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

declare const SAMPLE_FILES: string | undefined;

const files =
  typeof SAMPLE_FILES === 'undefined'
    ? readdirSync(import.meta.dirname)
        .filter((name) => name.endsWith('.ts') && name !== 'index.ts')
        .map((name) => name.slice(0, -3))
    : SAMPLE_FILES.split(',');

export async function loadSamples(): Promise<Sample[]> {
  const modules = await Promise.all(files.map((name) => import(`./${name}.ts`) as Promise<{ sample: Sample }>));
  return modules.map(({ sample }) => sample);
}
