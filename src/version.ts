import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

// Sources and built code both lie one folder below the root.
export const ROOT = dirname(import.meta.dirname);

// The build writes it down: a tick need not read a file for it.
declare const PACKAGE_VERSION: string | undefined;

export const VERSION: string =
  typeof PACKAGE_VERSION === 'undefined'
    ? JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')).version
    : PACKAGE_VERSION;

declare const BUILD_DATE: string | undefined;
/** The day of the build; unknown to the sources. */
export const BUILT = typeof BUILD_DATE === 'undefined' ? '' : BUILD_DATE;
