// Draws docs/session.svg from a real run: npm run session
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ROOT } from '../src/base/version.ts';
import { removeServer, startServer } from '../src/embedded/server.ts';
import { LAUNCHER } from './support/harness.ts';
import { draw, record, SESSION } from './support/session.ts';

const dir = mkdtempSync(join(tmpdir(), 'sch-'));
try {
  const { url } = await startServer({ dir });
  mkdirSync(join(dir, 'bin'));
  symlinkSync(LAUNCHER, join(dir, 'bin', 'scheduler'));
  writeFileSync(join(ROOT, SESSION), draw(await record(url, dir)));
} finally {
  await removeServer(dir);
  rmSync(dir, { recursive: true, force: true });
}
