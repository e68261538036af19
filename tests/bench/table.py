#!/usr/bin/env python3
"""Tables of docs/performance.md, of what the bench has written: table.py BENCH.JSON...

Rates over the peer's with the goals, the server's CPU time, and the slowest percent, at every
configuration. What is short of its goal is bold. Of a row that is in several files the last one counts.
"""

import json
import sys
import time


def read(paths):
    """The files' heads, the configurations in order, and rows[workload, who][configuration]."""
    heads, configurations, rows = [], [], {}
    for path in paths:
        with open(path, encoding='utf-8') as file:
            run = json.load(file)
        heads.append(run)
        for row in run['rows']:
            if row['at'] not in configurations:
                configurations.append(row['at'])
            rows.setdefault((row['workload'], row['who']), {})[row['at']] = row
    return heads, configurations, rows


def number(value):
    """Three digits that matter, as in the bench's own table."""
    if value is None:
        return '-'
    return f'{value:,.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}'


def bold(text, short):
    return f'**{text}**' if short else text


def rate(row):
    ratio, goal = row['rate_over_peer'], row['goal_over_peer']
    if ratio is None:
        return ', '.join(f'{side} failed' for side in ('atoll', 'peer') if 'error' in row.get(side, {})) or '-'
    text = number(ratio) + (f' ({goal:g})' if goal else '')
    return bold(text, goal and ratio < goal)


def sides(row, key):
    return [row.get(side, {}).get(key) for side in ('atoll', 'peer')]


def cpu(row):
    ours, peer = sides(row, 'cpu_us_per_unit')
    goal = row['cpu_goal_us']
    text = f'{number(ours)}, {number(peer)}' + (f' ({number(goal)})' if goal else '')
    return bold(text, goal and ours is not None and ours > goal)


def p99(row):
    ours, peer = sides(row, 'p99_us')
    text = ', '.join('-' if value is None else f'{value:,.0f}' for value in (ours, peer))
    return bold(text, None not in (ours, peer) and ours > peer)


def table(title, cell, configurations, rows):
    print(f'\n{title}\n')
    print('| workload |', ' | '.join(configurations), '|')
    print('|---' * (len(configurations) + 1) + '|')
    for (workload, who), row in rows.items():
        cells = [cell(row[at]) if at in row else '' for at in configurations]
        print('|', workload if who == 'any' else f'{workload}, {who}', '|', ' | '.join(cells), '|')


def main(paths):
    if not paths or paths[0].startswith('-'):
        sys.exit('usage: table.py BENCH.JSON...')
    heads, configurations, rows = read(paths)
    for run in heads:
        date = time.strftime('%Y-%m-%d', time.gmtime(run['time']))
        print(f"{date}, {run['machine']}, against {run['peer'] or 'nobody'}: medians of {run['rounds']} alternated "
              f"runs of {run['seconds']:g} s.")
    table("Atoll's rate over the peer's (goal):", rate, configurations, rows)
    table("The server's CPU us per unit: Atoll, peer (goal):", cpu, configurations, rows)
    table('p99 in us: Atoll, peer:', p99, configurations, rows)


if __name__ == '__main__':
    main(sys.argv[1:])
