import { readFileSync } from 'node:fs';
import { join } from 'node:path';

// The sources lie two folders below the root, built code one.
declare const PACKAGE_VERSION: string | undefined;
export const ROOT = join(import.meta.dirname, typeof PACKAGE_VERSION === 'undefined' ? '../..' : '..');

// The build writes it down, so that a tick reads no file for it.
export const VERSION: string =
  typeof PACKAGE_VERSION === 'undefined'
    ? JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')).version
    : PACKAGE_VERSION;

declare const BUILD_DATE: string | undefined;
/** The day of the build; unknown to the sources. */
export const BUILT = typeof BUILD_DATE === 'undefined' ? '' : BUILD_DATE;
