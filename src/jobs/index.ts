import { readdirSync } from 'node:fs';
import type { Job } from '../job/define.ts';

// A new job is one file in this folder: nobody keeps a list. Jobs of one business lie together in a folder with an index.
// The build writes the names down, because a bundle has no folder.
declare const JOB_FILES: string | undefined;

const names = typeof JOB_FILES === 'undefined' ? readdirSync(import.meta.dirname) : JOB_FILES.split(',');

export async function loadJobs(): Promise<Job[]> {
  const files = names.filter((name) => name.endsWith('.ts') && name !== 'index.ts').map((name) => name.slice(0, -3));
  const folders = names.filter((name) => !name.endsWith('.ts'));
  const single = files.map(async (name) => [((await import(`./${name}.ts`)) as { job: Job }).job]);
  const grouped = folders.map(async (name) => ((await import(`./${name}/index.ts`)) as { jobs: Job[] }).jobs);
  const jobs = (await Promise.all([...single, ...grouped])).flat();
  return jobs.sort((a, b) => a.order - b.order);
}
