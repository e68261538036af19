# A cluster of three nodes instead of one server, for tests with the kernel's client: sourced by
# tests/client/lib.sh when CL_SERVER=cluster. Puts the laboratory (lab.sh) in the place of the client tests'
# world, and nodes in that of their server.
#
#   nodes_start N...        starts the daemons of nodes, and waits until each serves
#   nodes_settled           waits until every node serves and has as many addresses as any other
#   holder ADDRESS          the node that holds a virtual address
#   node_stop N             ends a daemon as an administrator would
#   atoll_at N COMMAND...   the tool, asking node N
#
# Delegations are off unless CLUSTER_DELEGATIONS=yes: the nodes share one kernel, so each takes the others' opens for
# those of programs on its own machine, and recalls what it has delegated. For the same reason clients' locks are not
# taken on the files: a node that is cut off but runs would keep them from its successor. (Nodes with kernels of
# their own: gfs2.) exactly_once: what removes a file must not do so a second time when its reply was lost.
#
# Virtual addresses are 10.77.0.101 and up, one for each node; guest N mounts from the Nth.

CLUSTER_SRC=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$CLUSTER_SRC/lab.sh"

CL_NET=10.77.0 CL_HOST=10.77.0.254 CL_NET6=fd77: CL_HOST6=fd77::fe CL_BRIDGE=lan0
CLUSTER_NODES=${CLUSTER_NODES:-3}
# Milliseconds: corosync's token time-out (consensus is 1.2 times that).
LAB_TOKEN=${LAB_TOKEN:-1000}
declare -A node_pid

vip() { echo $CL_NET.$((100 + $1)); }
server_addr() { vip $((($1 - 1) % CLUSTER_NODES + 1)); }

world() {
	local missing
	if [[ ${LAB_INSIDE:-} != 1 ]]; then
		missing=$(cl_missing)
		[[ $missing ]] && skip_all "$missing"
		"$ATOLL"d --version >/dev/null || bail "ATOLL=${ATOLL:-} is not a program"
	fi
	lab_enter "$@"
	world_files
	disk /mnt/export 12G
	lab_up $CLUSTER_NODES
	[[ ! ${CL_CAPTURE:-} ]] || tcpdump_start
}

# node_configure N [LEASE]
node_configure() {
	local i vips=
	for ((i = 1; i <= CLUSTER_NODES; i++)); do
		vips+="$(vip $i)/24 "
	done
	mkdir -p /mnt/node$1
	cat >/mnt/node$1/atoll.conf <<-C
	[atolld]
	listen = 0.0.0.0
	exports = /mnt/exports
	state-dir = /mnt/node$1/state
	lease-time = ${2:-30}
	rpcbind = no
	delegations = ${CLUSTER_DELEGATIONS:-no}
	[cluster]
	secret = /mnt/secret
	addresses = $vips
	${CLUSTER_SECTION:-}
	C
}

atoll_at() {
	local node=$1 command=$2
	shift 2
	"$ATOLL" $command "$@" --state /mnt/node$node/state
}

# phase_of N: a node's phase as it says itself.
phase_of() {
	local said node self phase rest
	said=$(atoll_at $1 nodes 2>/dev/null)
	while read -r node self phase rest; do
		[[ $self != yes ]] || echo $phase
	done <<<"$said"
}
is_serving() { [[ $(phase_of $1) == serving ]]; }

# Any node that serves.
asked_node() {
	local i
	for ((i = 1; i <= CLUSTER_NODES; i++)); do
		is_serving $i && { echo $i; return; }
	done
	return 1
}

holder() { atoll_at "$(asked_node)" addresses 2>/dev/null | awk -v a="$1/24" '$1 == a { print $2 }'; }

node_start() {
	nsenter -t "$(<$LAB/$1/pid)" --net --mount \
		"$ATOLL"d -c /mnt/node$1/atoll.conf >>/mnt/log/node$1.log 2>&1 </dev/null &
	node_pid[$1]=$! # the supervisor
}

node_serves() {
	lab_wait 30 is_serving $1 || {
		tail -n 40 /mnt/log/node$1.log | diag
		bail "node $1 does not serve"
	}
}

nodes_start() {
	local i
	for i in "$@"; do
		node_start $i
	done
	for i in "$@"; do
		node_serves $i
	done
}

# The server proper: the supervisor's child of the same name.
node_worker() { ps -o pid=,comm= --ppid ${node_pid[$1]} | awk '$2 == "atolld" { print $1 }'; }

# Without the number of connections, of which new ones may be under way.
addresses_at() {
	local said address node moves rest
	said=$(atoll_at $1 addresses 2>/dev/null)
	while read -r address node moves rest; do
		echo $address $node $moves
	done <<<"$said"
}

# Is each address at another node, and none moving? What addresses_at says is given.
are_spread() {
	local address node moves n=0
	local -A seen=()
	while read -r address node moves; do
		[[ $address != address ]] || continue
		[[ $moves == - && ! ${seen[$node]:-} ]] || return 1
		seen[$node]=1
		((++n))
	done <<<"$1"
	((n == CLUSTER_NODES))
}

# All nodes serve, no address is moving, each node has one, and all are of one opinion about that. What is asked while
# clients are at work should take little of the processor from them.
is_settled() {
	local i said
	said=$(addresses_at 1)
	are_spread "$said" || return 1
	for ((i = 1; i <= CLUSTER_NODES; i++)); do
		is_serving $i || return 1
	done
	for ((i = 2; i <= CLUSTER_NODES; i++)); do
		[[ $(addresses_at $i) == "$said" ]] || return 1
	done
}
nodes_settled() {
	local end=$((EPOCHSECONDS + 60)) i
	until is_settled; do
		((EPOCHSECONDS < end)) || break
		sleep 0.1
	done
	((EPOCHSECONDS < end)) || {
		for i in $(seq $CLUSTER_NODES); do
			{ echo "node $i: $(phase_of $i)"; tail -n 15 /mnt/log/node$i.log; } | diag
		done
		atoll_at 1 addresses | diag
		bail "the cluster does not settle"
	}
}

# Ends a node's daemon; it has 20 seconds and must exit with status 0.
node_stop() {
	local pid=${node_pid[$1]} status
	kill -TERM $pid || { echo "node $1 is gone"; return 1; }
	timeout 20 tail -f -s 0.05 --pid=$pid /dev/null || {
		echo "node $1 does not end"
		server_stacks "$(node_worker $1)"
		kill -KILL $pid
	}
	wait $pid
	status=$?
	((status == 0)) || { echo "node $1 ended with status $status"; tail -n 40 /mnt/log/node$1.log; return 1; }
}

# --- what client tests call ----------------------------------------------------------------------------------------

server_start() {
	local lease=30 i
	while (($#)); do
		case $1 in
		--lease) lease=$2; shift ;;
		*) skip_all "no option $1 for a cluster" ;;
		esac
		shift
	done
	head -c 16 /dev/urandom >/mnt/secret
	chmod 600 /mnt/secret
	echo "/mnt/export *(fsid=0,crossmnt,rw,no_root_squash,no_local_locks,exactly_once)" >/mnt/exports
	for ((i = 1; i <= CLUSTER_NODES; i++)); do
		node_configure $i $lease
	done
	nodes_start $(seq $CLUSTER_NODES)
	nodes_settled
}

server_alive() {
	local i
	for ((i = 1; i <= CLUSTER_NODES; i++)); do
		kill -0 ${node_pid[$i]} 2>/dev/null || return 1
	done
}

server_stop() {
	local i status=0
	for ((i = 1; i <= CLUSTER_NODES; i++)); do
		node_stop $i || status=1
	done
	return $status
}

server_log_clean() {
	cat /mnt/log/node*.log >$server_log
	log_clean $server_log "$@"
}
