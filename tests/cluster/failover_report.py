#!/usr/bin/env python3
"""Table of what tests/cluster/failover has measured: failover_report.py RESULTS.jsonl OUT.json

Each line of RESULTS is a trial. Prints, for every version and scenario, the number of trials, median and worst of the
longest operation that the client of the stricken node saw, less corosync's own detection where a node was lost,
and of the other client, and whether the goals are met.
"""
import json
import statistics
import sys

# What corosync needs to notice a lost node, ms: token with its coefficient for a third node, and consensus.
TOKEN = 650
TITLES = {
    "none": "nothing happens",
    "kill": "atolld killed",
    "hang": "atolld hangs",
    "cut": "node cut off",
    "node": "node dies",
    "drain": "drained",
    "restart": "rolling restart",
}
# Median and worst pause allowed, ms; on top of corosync's detection for lost nodes.
GOALS = {"kill": (500, 1000), "cut": (500, 1000), "node": (500, 1000), "drain": (300, None)}


def detection(token):
    total = token + TOKEN
    return total + 1.2 * total


def summary(trials):
    """Median and worst of every version and scenario, with what corosync needed taken off."""
    groups = {}
    for t in trials:
        groups.setdefault((t["vers"], t["scenario"]), []).append(t)
    out = []
    for (vers, scenario), group in groups.items():
        off = detection(group[0]["token_ms"]) if scenario in ("cut", "node") else 0
        pauses = [t["pause_ms"] for t in group]
        others = [t["other_pause_ms"] for t in group]
        median, worst = statistics.median(pauses), max(pauses)
        goal = GOALS.get(scenario)
        met = None
        if goal:
            met = median - off <= goal[0] and (goal[1] is None or worst - off <= goal[1])
        out.append({
            "vers": vers, "scenario": scenario, "trials": len(group), "failed": sum(not t["ok"] for t in group),
            "median_ms": median, "worst_ms": worst, "corosync_ms": off,
            "other_median_ms": statistics.median(others), "other_worst_ms": max(others), "goal_met": met,
        })
    return out


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        trials = [json.loads(line) for line in f]
    rows = summary(trials)
    with open(sys.argv[2], "w", encoding="utf-8") as f:
        json.dump({"rows": rows, "trials": trials}, f, indent=1)
    print(f"{'':6}{'what happens':18}{'trials':>7}{'failed':>7}{'median':>9}{'worst':>9}{'corosync':>9}"
          f"{'others: median':>16}{'worst':>8}  goal")
    for r in rows:
        met = {None: "", True: "met", False: "missed"}[r["goal_met"]]
        print(f"{r['vers']:6}{TITLES[r['scenario']]:18}{r['trials']:>7}{r['failed']:>7}{r['median_ms']:>9.0f}"
              f"{r['worst_ms']:>9.0f}{r['corosync_ms']:>9.0f}{r['other_median_ms']:>16.0f}{r['other_worst_ms']:>8.0f}"
              f"  {met}")
    print("Milliseconds: the longest operation of the client whose node is stricken, and of one at another node;")
    print("`corosync': what it needs to notice a lost node, part of the pause and not of the goal.")
    return 1 if any(r["failed"] for r in rows) else 0


sys.exit(main())
