// A test that changes a table itself, or looks below it, cannot do so through a view. All others must pass.
const OF_VIEWS =
  /is a view|is not a table|cannot be performed on relation|cannot create index on relation|(?:column "(?:\w+\.)?(?:xmin|ctid)"|index "\w+"|relation "\w+_to_\w+") does not exist/;

export default async function* (source) {
  const count = { passed: 0, ofViews: 0, failed: 0 };
  for await (const { type, data } of source) {
    if (data?.details?.type === 'suite') continue;
    if (type === 'test:pass') count.passed++;
    if (type !== 'test:fail') continue;
    const { error } = data.details;
    const message = String(error?.cause?.message ?? error?.message);
    if (OF_VIEWS.test(message)) count.ofViews++;
    else {
      count.failed++;
      yield `not ok ${data.file} ${data.name}\n    ${message}\n${error?.cause?.stack ?? ''}\n`;
    }
  }
  yield `${count.passed} passed, ${count.ofViews} need the table itself, ${count.failed} failed\n`;
  process.exitCode = count.failed > 0 || count.passed === 0 ? 1 : 0;
}
