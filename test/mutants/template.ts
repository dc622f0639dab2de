// Makes the database that those of the tests are cloned from, as the program in this folder migrates it.
import { makeTemplate } from '../support/harness.ts';

await makeTemplate(process.env.TEST_SERVER!);
