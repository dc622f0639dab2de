import { spawnSync } from 'node:child_process';

/** Runs a program of the system. Its messages are in English, because some of them are matched. */
export function run(program: string, args: string[], input?: string) {
  return spawnSync(program, args, {
    encoding: 'utf8',
    env: { PATH: '/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin', LC_ALL: 'C' },
    ...(input !== undefined && { input }),
  });
}
