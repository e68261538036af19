#!/usr/bin/env python3
"""What tests/cluster/failover has measured: failover_report.py RESULTS OUT.json

RESULTS is what failover leaves with CL_RESULTS: what the clients said in each trial (cl-failover.c), between a line
"trial" and a line "end". A trial without an end has failed. Prints a table for each version and scenario, and whether
the goals are met, and writes all of it as JSON. Exit status 1: a client saw more than a pause.
"""
import json
import statistics
import sys

SLOW = 40  # cl-failover tells of an operation that takes so long, ms
TITLES = {
    "none": "nothing happens",
    "kill": "atolld killed",
    "hang": "atolld hangs",
    "cut": "node cut off",
    "partition": "node divided off",
    "node": "node dies",
    "corosync": "corosync restarted",
    "drain": "drained",
    "restart": "rolling restart",
    "replace": "rolling atoll restart",
}
LOSES_NODE = ("cut", "partition", "node")  # corosync has to find out, which is part of the pause
GOALS = {  # median and worst pause of the stricken client, ms, on top of corosync's detection
    "kill": (500, 1000), "cut": (500, 1000), "partition": (500, 1000), "node": (500, 1000), "drain": (300, None),
}
OTHERS_GOAL = 100
# What clients of other nodes do: what needs no agreement among the nodes, and what does.
DATA = ("read", "write", "getattr")
ORDERED = ("lock", "unlock", "refusal", "open", "close")


class Trial:
    def __init__(self, line):
        words = line.split()
        self.vers, self.scenario = words[1], words[2]
        self.detection = int(dict(w.split("=") for w in words[3:])["detection"])
        self.ok = False
        self.hurt = self.back = None
        self.slow = {"1": [], "2": []}  # begin, ms, kind
        self.longest = {"1": {}, "2": {}}
        self.count = {"1": 0, "2": 0}
        self.data_count = 0
        self.anew = 0
        self.griefs = []

    def take(self, line):
        guest, what, *rest = line.split(maxsplit=2)
        rest = rest[0] if rest else ""
        if what == "slow":
            at, ms, kind = rest.split()
            self.slow[guest].append((float(at), float(ms), kind))
        elif what == "kind":
            kind, count, ms = rest.split()
            self.longest[guest][kind] = max(float(ms), self.longest[guest].get(kind, 0))
            self.count[guest] += int(count)
            if guest == "2" and kind in DATA:
                self.data_count += int(count)
        elif what == "anew":
            self.anew += int(rest)
        else:
            self.griefs.append(line)

    def end(self, line):
        words = line.split()
        times = dict(w.split("=") for w in words[2:])
        self.ok = words[1] == "0" and not self.griefs
        self.hurt, self.back = float(times["hurt"]), float(times["back"])

    def pause(self, guest, kinds, returning):
        """The longest operation that something happened to: None, nothing was measured."""
        longest = [ms for kind, ms in self.longest[guest].items() if not kinds or kind in kinds]
        if not longest or self.hurt is None:
            return None
        found = [ms for at, ms, kind in self.slow[guest]
                 if (not kinds or kind in kinds) and at + ms / 1e3 >= self.hurt and (at >= self.back) == returning]
        return max(found, default=min(max(longest), SLOW))

    def json(self):
        return {
            "vers": self.vers, "scenario": self.scenario, "ok": self.ok, "corosync_ms": self.detection,
            "pause_ms": self.pause("1", None, False), "return_pause_ms": self.pause("1", None, True),
            "others_data_ms": self.pause("2", DATA, False), "others_data_return_ms": self.pause("2", DATA, True),
            "others_ordered_ms": self.pause("2", ORDERED, False),
            "others_ordered_return_ms": self.pause("2", ORDERED, True),
            "operations": self.count["1"], "others_operations": self.count["2"],
            "others_data_operations": self.data_count,
            "others_data_slow": sum(ms > OTHERS_GOAL and kind in DATA for _, ms, kind in self.slow["2"]),
            "reclaims": self.anew, "griefs": self.griefs,
            "slow": {g: [(round(at - (self.hurt or 0), 3), ms, kind) for at, ms, kind in s] for g, s in self.slow.items()},
        }


def read(path):
    trials, now = [], None
    with open(path, encoding="utf-8", errors="replace") as f:
        for line in f:
            if line.startswith("trial "):
                now = Trial(line)
                trials.append(now)
            elif line.startswith("end ") and now:
                now.end(line)
                now = None
            elif now and line.strip():
                now.take(line)
    return trials


def spread(trials, name):
    values = [t[name] for t in trials if t[name] is not None]
    return (statistics.median(values), max(values)) if values else (None, None)


def summary(trials):
    groups = {}
    for t in trials:
        groups.setdefault((t["scenario"], t["vers"]), []).append(t)
    rows = []
    order = list(TITLES)
    for (scenario, vers), group in sorted(groups.items(), key=lambda g: (order.index(g[0][0]), g[0][1])):
        off = group[0]["corosync_ms"] if scenario in LOSES_NODE else 0
        row = {"scenario": scenario, "vers": vers, "trials": len(group), "failed": sum(not t["ok"] for t in group),
               "corosync_ms": off}
        for name in ("pause_ms", "return_pause_ms", "others_data_ms", "others_data_return_ms", "others_ordered_ms",
                     "others_ordered_return_ms"):
            row[name] = dict(zip(("median", "worst"), spread(group, name)))
        for name in ("others_data_operations", "others_data_slow"):
            row[name] = sum(t[name] for t in group)
        griefs = [g for t in group for g in t["griefs"]]
        row["errors"] = sum("grief error" in g for g in griefs)
        row["lost_locks"] = sum("grief lost-lock" in g for g in griefs)
        row["wrong_bytes"] = sum("grief wrong-bytes" in g for g in griefs)
        row["reclaims"] = sum(t["reclaims"] for t in group)
        healthy = scenario not in ("none", "restart", "replace")  # no node is stricken, or all are
        row["others_goal_met"] = met(row["others_data_ms"], 0, (OTHERS_GOAL, OTHERS_GOAL)) if healthy else None
        row["others_ordered_goal_met"] = (
            met(row["others_ordered_ms"], off, (OTHERS_GOAL, OTHERS_GOAL)) if healthy else None)
        row["goal_met"] = met(row["pause_ms"], off, GOALS[scenario]) if scenario in GOALS else None
        rows.append(row)
    return rows


def met(pause, off, goal):
    if pause["median"] is None:
        return False
    return pause["median"] - off <= goal[0] and (goal[1] is None or pause["worst"] - off <= goal[1])


def pair(p):
    return "-" if p["median"] is None else f"{p['median']:.0f}/{p['worst']:.0f}"


def yes(value):
    return {None: "", True: "met", False: "missed"}[value]


def show(rows):
    head = ("", "", "trials", "stricken", "corosync", "goal", "returning", "others' data", "goal", "others' locks",
            "goal", "returning", "failed", "errors", "reclaims", "lost locks", "wrong bytes")
    width = (23, 5, 7, 13, 9, 7, 12, 13, 7, 14, 7, 12, 7, 7, 9, 11, 12)
    print("".join(f"{h:>{w}}" if i > 1 else f"{h:{w}}" for i, (h, w) in enumerate(zip(head, width))))
    for r in rows:
        back = (r["others_data_return_ms"], r["others_ordered_return_ms"])
        worst = max(back, key=lambda p: p["worst"] or 0)
        cells = (TITLES[r["scenario"]], r["vers"], r["trials"], pair(r["pause_ms"]), r["corosync_ms"] or "",
                 yes(r["goal_met"]), pair(r["return_pause_ms"]), pair(r["others_data_ms"]),
                 yes(r["others_goal_met"]), pair(r["others_ordered_ms"]), yes(r["others_ordered_goal_met"]),
                 pair(worst), r["failed"], r["errors"], r["reclaims"], r["lost_locks"], r["wrong_bytes"])
        print("".join(f"{c:>{w}}" if i > 1 else f"{c:{w}}" for i, (c, w) in enumerate(zip(cells, width))))
    print(f"""
Milliseconds, median/worst over the trials of the longest operation in each.
stricken: of the client whose node something happens to, until it has gone on; corosync: its token and consensus time-outs
as configured, which it needs to find out that a node is lost: part of the pause, and added to the goals.
returning: while what happened is undone (for the others: the worse of data and locks).
others' data: reads, writes and attributes of a client at another node; others' locks: its locks, opens and closes, and the
tries for the lock that the first client holds, which wait for corosync when a node is lost. Goal: {OTHERS_GOAL} ms for the worst,
for locks on top of corosync's share. `nothing happens' is what the machine itself does to these figures.
reclaims: how often clients made themselves known anew (SETCLIENTID, EXCHANGE_ID, CREATE_SESSION, RECLAIM_COMPLETE).""")


def show_data(rows):
    """What a fault does to the others' data operations, beside what they are without: the machine itself may pause."""
    print(f"\nothers' data operations above {OTHERS_GOAL} ms, the whole trials:")
    for scenario in dict.fromkeys(r["scenario"] for r in rows):
        group = [r for r in rows if r["scenario"] == scenario]
        slow, count, trials = (sum(r[n] for r in group) for n in ("others_data_slow", "others_data_operations", "trials"))
        print(f"  {TITLES[scenario]:23}{slow:6} of {count:8} in {trials} trials")


def main():
    trials = [t.json() for t in read(sys.argv[1])]
    if not trials:
        print("nothing was measured", file=sys.stderr)
        return 1
    rows = summary(trials)
    with open(sys.argv[2], "w", encoding="utf-8") as f:
        json.dump({"rows": rows, "trials": trials}, f, indent=1)
    show(rows)
    show_data(rows)
    bad = sum(r["failed"] + r["errors"] + r["reclaims"] + r["lost_locks"] + r["wrong_bytes"] for r in rows)
    return 1 if bad else 0


sys.exit(main())
