#!/usr/bin/env python3
"""Counts test cases in meson's JSON logs and prints `N passed, N failed, N skipped`.

A test program that reports its cases (TAP, or cmocka's own format) counts by cases, any other
counts as one. A program that failed without a failed case counts as one failure more. Exits
with 1 if anything failed or a log is missing.
"""
import json
import re
import sys

TAP = re.compile(r'^(not )?ok\b(.*)$')
TAP_SKIP = re.compile(r'#\s*(skip|todo)', re.IGNORECASE)
CMOCKA = re.compile(r'^\[\s*(OK|FAILED|SKIPPED|ERROR)\s*\] (\S+)')


def count_tap(text):
    counts = {'passed': 0, 'failed': 0, 'skipped': 0}
    for line in text.splitlines():
        m = TAP.match(line)
        if not m:
            continue
        if TAP_SKIP.search(m.group(2)):
            counts['skipped'] += 1
        else:
            counts['failed' if m.group(1) else 'passed'] += 1
    return counts


def count_cmocka(text):
    """cmocka names a failed case once where it ran and again in its summary: count names."""
    verdicts = {}
    rank = {'passed': 0, 'skipped': 1, 'failed': 2}
    for line in text.splitlines():
        m = CMOCKA.match(line)
        if not m or m.group(2).rstrip(':').isdigit() or m.group(2).startswith('['):
            continue
        verdict = {'OK': 'passed', 'SKIPPED': 'skipped'}.get(m.group(1), 'failed')
        name = m.group(2).rstrip(':')
        if name not in verdicts or rank[verdict] > rank[verdicts[name]]:
            verdicts[name] = verdict
    return {k: list(verdicts.values()).count(k) for k in rank}


def count_test(test):
    result = test.get('result', 'ERROR')
    if result == 'SKIP':
        return {'passed': 0, 'failed': 0, 'skipped': 1}
    out = test.get('stdout') or ''
    err = test.get('stderr') or ''
    counts = count_tap(out)
    if not sum(counts.values()):
        counts = count_cmocka(out + '\n' + err)
    good = result in ('OK', 'EXPECTEDFAIL')
    if not sum(counts.values()):
        counts['passed' if good else 'failed'] = 1
    elif not good and not counts['failed']:
        counts['failed'] = 1
    return counts


def main():
    total = {'passed': 0, 'failed': 0, 'skipped': 0}
    failures = []
    for path in sys.argv[1:]:
        try:
            with open(path, encoding='utf-8', errors='replace') as f:
                tests = [json.loads(line) for line in f if line.strip()]
        except FileNotFoundError:
            # meson writes no log for a suite without tests.
            print(f'{path}: no tests ran', file=sys.stderr)
            continue
        for test in tests:
            counts = count_test(test)
            for k, n in counts.items():
                total[k] += n
            if counts['failed']:
                failures.append(test.get('name', '?'))
    for name in failures:
        print(f'failed: {name}')
    print('{passed} passed, {failed} failed, {skipped} skipped'.format(**total))
    return 1 if total['failed'] or not total['passed'] else 0


if __name__ == '__main__':
    sys.exit(main())
