import { readFileSync } from 'node:fs';

// Sources and built code both lie one folder below the root.
export const ROOT = new URL('..', import.meta.url);
export const VERSION: string = JSON.parse(readFileSync(new URL('package.json', ROOT), 'utf8')).version;

declare const BUILD_DATE: string | undefined;
/** The day of the build; unknown to the sources. */
export const BUILT = typeof BUILD_DATE === 'undefined' ? '' : BUILD_DATE;
