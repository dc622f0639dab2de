import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Job } from './job.ts';

// A new job is one file in src/jobs: nobody keeps a list. The build writes the names down, as a bundle has no folder.
declare const JOB_FILES: string | undefined;

const files =
  typeof JOB_FILES === 'undefined'
    ? readdirSync(join(import.meta.dirname, 'jobs'))
        .filter((name) => name.endsWith('.ts'))
        .map((name) => name.slice(0, -3))
    : JOB_FILES.split(',');

export async function loadJobs(): Promise<Job[]> {
  const modules = await Promise.all(files.map((name) => import(`./jobs/${name}.ts`) as Promise<{ job: Job }>));
  return modules.map(({ job }) => job).sort((a, b) => a.order - b.order);
}
