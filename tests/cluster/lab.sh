# A laboratory of cluster nodes on one machine, to be sourced by bash scripts run as root.
#
# Every node is a network namespace with its own corosync, /run and /dev/shm; all are ports of one bridge,
# lan0, and share the machine's file system, which so stands for a cluster file system. The whole laboratory
# lives in namespaces of its own (network, mounts, processes): when the script ends, however it ends, nothing is
# left of it.
#
#	. lab.sh
#	lab_enter "$@"		# first of all: runs the script again within new namespaces
#	lab_up 3		# three nodes with corosync, which see each other
#	lab_node 2 COMMAND...	# runs a command at node 2 (10.77.0.2, fd77::2), whose corosync is its own
#	lab_corosync_kill 2; lab_corosync_start 2
#	lab_cut 2; lab_join 2	# the node's cable is pulled, and put back
#	lab_freeze 2; lab_thaw 2	# stops all processes of node 2, lets them go on
#
# $LAB is a private directory (tmpfs). Taps of guests may be added to lan0 (the laboratory itself is
# 10.77.0.254 there). LAB_TOKEN (milliseconds) is corosync's token time-out.

LAB=${LAB:-}
LAB_TOKEN=${LAB_TOKEN:-1000}
LAB_NODES=0

lab_fail() {
	echo "lab: $*" >&2
	exit 99
}

# lab_enter "$@": returns within the laboratory.
lab_enter() {
	if [ "${LAB_INSIDE:-}" != 1 ]; then
		[ "$(id -u)" = 0 ] || { echo "1..0 # SKIP needs root"; exit 0; }
		command -v corosync >/dev/null || { echo "1..0 # SKIP needs corosync"; exit 0; }
		LAB_INSIDE=1 exec unshare --mount --net --ipc --pid --fork --kill-child=KILL --mount-proc \
			"${BASH:-/bin/bash}" "$0" "$@"
	fi
	mount --make-rprivate /
	# corosync wants a directory for sockets and logs even if it is told not to log.
	mkdir -p /tmp/atoll-lab
	mount -t tmpfs -o mode=0700 lab /tmp/atoll-lab
	LAB=/tmp/atoll-lab
	mount -t tmpfs -o mode=0755 run /run
	mkdir -p /run/netns
	ip link set lo up
}

lab_corosync_conf() { # nodes in all, this node
	local i
	cat <<END
totem {
	version: 2
	cluster_name: lab
	transport: knet
	crypto_cipher: none
	crypto_hash: none
	token: $LAB_TOKEN
}
system {
	allow_knet_handle_fallback: yes
	state_dir: $LAB/$2/state
}
logging {
	to_stderr: no
	to_syslog: no
	to_logfile: yes
	logfile: $LAB/$2/corosync.log
	timestamp: hires
}
quorum {
	provider: corosync_votequorum
	${LAB_QUORUM:-}
}
nodelist {
END
	for ((i = 1; i <= $1; i++)); do
		printf '\tnode {\n\t\tname: n%d\n\t\tnodeid: %d\n\t\tring0_addr: 10.77.0.%d\n\t}\n' "$i" "$i" "$i"
	done
	echo '}'
}

lab_bridge() {
	ip link add lan0 type bridge mcast_snooping 0 || lab_fail "cannot make a bridge"
	ip addr add 10.77.0.254/24 dev lan0
	ip addr add fd77::fe/64 dev lan0 nodad
	ip link set lan0 up
}

# The process that keeps the namespaces of a node.
lab_make_node() {
	local i=$1
	mkdir -p "$LAB/$i/state"
	ip netns add "n$i" || lab_fail "cannot make a network namespace"
	ip link add "port$i" type veth peer name eth0 netns "n$i" || lab_fail "cannot make a veth"
	ip link set "port$i" master lan0 up
	ip -n "n$i" link set lo up
	ip -n "n$i" addr add "10.77.0.$i/24" dev eth0
	ip -n "n$i" addr add "fd77::$i/64" dev eth0 nodad
	ip -n "n$i" link set eth0 up
	# shellcheck disable=SC2016
	ip netns exec "n$i" unshare --mount bash -c '
		mount -t tmpfs shm /dev/shm
		mount -t tmpfs -o mode=0755 run /run
		mkdir -p /run/corosync /run/lock
		echo $$ >"$1/pid.new" && mv "$1/pid.new" "$1/pid"
		exec sleep infinity' node "$LAB/$i" &
	lab_wait 10 test -f "$LAB/$i/pid" || lab_fail "node $i does not start"
}

# lab_wait SECONDS COMMAND...: until the command succeeds.
lab_wait() {
	local end=$((${EPOCHREALTIME/./} + $1 * 1000000))
	shift
	until "$@" >/dev/null 2>&1; do
		[ "${EPOCHREALTIME/./}" -lt $end ] || return 1
		sleep 0.02
	done
}

# lab_node N COMMAND...: at a node.
lab_node() {
	local pid
	pid=$(cat "$LAB/$1/pid")
	shift
	nsenter -t "$pid" --net --mount "$@"
}

# lab_corosync_start N...
lab_corosync_start() {
	local i
	for i in "$@"; do
		lab_node "$i" corosync -f -c "$LAB/$i/corosync.conf" >>"$LAB/$i/corosync.out" 2>&1 &
	done
}

lab_corosync_pid() {
	lab_node "$1" cat /run/corosync.pid 2>/dev/null || lab_pids "$1" | while read -r pid name; do
		[ "$name" = corosync ] && echo "$pid"
	done
}

# PID NAME of all processes in node N.
lab_pids() {
	local ns pid p
	pid=$(cat "$LAB/$1/pid")
	ns=$(readlink "/proc/$pid/ns/net")
	for p in /proc/[0-9]*; do
		[ "$(readlink "$p/ns/net" 2>/dev/null)" = "$ns" ] || continue
		echo "${p#/proc/} $(cat "$p/comm" 2>/dev/null)"
	done
}

# lab_corosync_kill N: as if it had crashed.
lab_corosync_kill() {
	local pid name
	lab_pids "$1" | while read -r pid name; do
		if [ "$name" = corosync ]; then
			kill -9 "$pid"
			lab_wait 5 lab_gone "$pid"
		fi
	done
	lab_node "$1" sh -c 'rm -rf /dev/shm/qb-* /run/corosync.pid' 2>/dev/null
}

lab_gone() {
	! kill -0 "$1" 2>/dev/null
}

# Is node N in a quorate cluster of M members?
lab_has_members() {
	[ "$(lab_node "$1" corosync-quorumtool -l 2>/dev/null | grep -c '^ *[0-9]')" = "$2" ]
}

lab_quorate() {
	lab_node "$1" corosync-quorumtool -s 2>/dev/null | grep -q 'Quorate: *Yes'
}

# lab_up N: nodes 1 to N with corosync, all members.
lab_up() {
	local i
	LAB_NODES=$1
	lab_bridge
	for ((i = 1; i <= $1; i++)); do
		lab_make_node "$i"
		lab_corosync_conf "$1" "$i" >"$LAB/$i/corosync.conf"
	done
	for ((i = 1; i <= $1; i++)); do
		lab_corosync_start "$i"
	done
	for ((i = 1; i <= $1; i++)); do
		lab_wait 30 lab_has_members "$i" "$1" || {
			cat "$LAB/$i/corosync.log" "$LAB/$i/corosync.out" >&2
			lab_fail "node $i does not see $1 members"
		}
	done
}

lab_cut() {
	ip link set "port$1" down
}

lab_join() {
	ip link set "port$1" up
}

lab_freeze() {
	local pid name
	lab_pids "$1" | while read -r pid name; do
		[ "$name" = sleep ] || kill -STOP "$pid"
	done
}

lab_thaw() {
	local pid name
	lab_pids "$1" | while read -r pid name; do
		kill -CONT "$pid"
	done
}
