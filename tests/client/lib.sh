# Client tests: the host's side. Sourced by every executable of this folder.
#
# A test runs in a world of its own: new network, mount and process namespaces, so that whatever it makes (bridge,
# taps, mounts, loop devices, guests, servers) is gone when its first process is, even if that is killed with SIGKILL.
# /mnt is the world's tmpfs:
#
#   /mnt/bin      the scripts and programs that guests run
#   /mnt/export   what the server exports: an ext4 image on a loop device (see CL_FS)
#   /mnt/gN       guest N: console, control channel, output of its commands
#   /mnt/log      server logs, captures
#
# A guest is Debian's User Mode Linux kernel, its root is the host's file system, read-only. The host drives it over a
# serial line: `on N COMMAND` runs a shell command there and returns its output and exit status.
#
# Settings (environment):
#   ATOLL          the atoll program (set by meson)
#   CL_TOOLS       the folder with the built test programs (set by meson)
#   CL_CACHE       a folder that may keep downloaded sources between runs (set by meson)
#   CL_SET         short (default) or long
#   CL_ONLY        a pattern of case names: run only these
#   CL_SERVER      atoll (default); cluster: guest N mounts from node N of three (tests/cluster/cluster.sh); or
#                  ganesha: runs the same cases against nfs-ganesha, for comparison
#   CL_FS          file system below the export: ext4 (default), xfs, btrfs or tmpfs
#   CL_KEEP        a folder that gets logs, consoles and captures of this run
#   CL_VERBOSE     1: show the output of cases that passed, too
#   CL_CAPTURE     1: record the traffic (with CL_KEEP)
#   CL_SERVER_ARGS further arguments of the server

set -u -o pipefail
shopt -s nullglob
export LC_ALL=C PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

CL_SRC=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
CL_SET=${CL_SET:-short} CL_ONLY=${CL_ONLY:-*} CL_SERVER=${CL_SERVER:-atoll} CL_FS=${CL_FS:-ext4}
CL_MODULES=/usr/lib/uml/modules
CL_NET=10.99.0 CL_HOST=10.99.0.1 CL_NET6=fd00:99: CL_HOST6=fd00:99::1 CL_BRIDGE=nfsbr0

# --- TAP -----------------------------------------------------------------------------------------------------------
# Results are counted as they come; the plan is printed at the end, and only by a test that got there.

cl_count=0 cl_failed=0
diag() { sed 's/^/# /'; }
ok() { printf 'ok %d - %s\n' $((++cl_count)) "$1"; }
skip() { printf 'ok %d - %s # SKIP %s\n' $((++cl_count)) "$1" "$2"; }
not_ok() { printf 'not ok %d - %s\n' $((++cl_count)) "$1"; ((++cl_failed)); }
bail() {
	[[ ${cl_server_pid:-} ]] && server_stacks "$cl_server_pid"
	echo "Bail out! $*"
	exit 1
}
skip_all() { echo "1..0 # SKIP $*"; exit 0; }

# report NAME STATUS OUTPUT: a case's result. Status 77 means skipped; the last line of the output says why.
report() {
	case $2 in
	0) ok "$1"; [[ ! ${CL_VERBOSE:-} ]] || diag <<<"$3" ;;
	77) skip "$1" "$(tail -n 1 <<<"$3")" ;;
	*) not_ok "$1"; { echo "exit status $2"; tail -n 60 <<<"$3"; } | diag ;;
	esac
}

wanted() { [[ $1 == $CL_ONLY ]]; }

# check NAME COMMAND...: a result of a command on the host; test_case: the same, if CL_ONLY wants it.
check() {
	local name=$1 rc
	shift
	"$@" >/mnt/log/check.out 2>&1 </dev/null
	rc=$?
	report "$name" $rc "$(</mnt/log/check.out)"
	((rc != 124)) || bail "a guest is stuck"
}
test_case() {
	local start=$EPOCHREALTIME
	if wanted "$1"; then
		check "$@"
		seconds_since "$start"
		server_alive || { tail -n 60 $server_log | diag; bail "the server is gone"; }
	fi
}

# strict FUNCTION: runs it in a subshell that ends at the first command that fails, and says which that was.
strict() {
	(
		set -eE
		trap 'echo "failed: line $LINENO of ${BASH_SOURCE[0]##*/}: $BASH_COMMAND"' ERR
		"$@"
	)
}

fail() { echo "$*"; return 1; }
eq() { [[ $1 == "$2" ]] || fail "line ${BASH_LINENO[0]}: got \"$1\", expected \"$2\""; }

# --- the world -----------------------------------------------------------------------------------------------------

# What is missing on this machine, in one line; nothing if all is there.
cl_missing() {
	local program
	((EUID == 0)) || { echo "needs root"; return; }
	for program in linux.uml ip unshare mount.nfs4 modprobe timeout setpriv; do
		command -v $program >/dev/null || { echo "$program is not installed"; return; }
	done
	[[ -d $CL_MODULES ]] || { echo "no $CL_MODULES (package user-mode-linux)"; return; }
	[[ -c /dev/net/tun ]] || { echo "no /dev/net/tun"; return; }
	unshare --net --mount --pid --fork --mount-proc true 2>/dev/null || { echo "no namespaces"; return; }
}

# Source packages for the guests, downloaded before the world has no network.
cl_fetch() {
	local package
	for package in ed hello; do
		[[ $package == hello && $CL_SET == short ]] && continue
		[[ ${CL_CACHE:-} ]] && timeout 60 "$CL_SRC/fetch-source" $package "$CL_CACHE/$package.tar" 2>&1 | diag
	done
}

# world "$@": first command of a test. Starts the script again in its world and makes what every test needs there.
world() {
	local missing
	if [[ ${CL_WORLD:-} != "$$" ]]; then
		missing=$(cl_missing)
		[[ $missing ]] && skip_all "$missing"
		cl_fetch
		CL_WORLD=1 exec unshare --net --mount --pid --fork --kill-child --mount-proc -- "$0" "$@"
	fi
	world_files
	ip link set lo up
	ip link add $CL_BRIDGE type bridge && ip addr add $CL_HOST/24 dev $CL_BRIDGE &&
		ip addr add $CL_HOST6/64 dev $CL_BRIDGE nodad && ip link set $CL_BRIDGE up ||
		bail "cannot make a bridge"
	disk /mnt/export 12G
	if [[ ${CL_CAPTURE:-} ]]; then
		tcpdump_start
	fi
}

# What is in /mnt of every world.
world_files() {
	trap cl_end EXIT
	trap 'exit 143' TERM INT HUP
	mkdir -p /lib/modules # UML's mount point for its modules; the kernel packages own the same folder
	mount -t tmpfs -o mode=755 atoll-test /mnt || bail "cannot mount a tmpfs"
	mkdir /mnt/bin /mnt/log /mnt/export
	cp "$CL_SRC"/guest-* "$CL_SRC"/cases/*.sh /mnt/bin || bail "cannot copy the cases"
	cp "${CL_TOOLS:?}"/cl-{pattern,dir,lock,model,tree,posix,load} /mnt/bin || bail "cannot copy the programs"
	if [[ -f $CL_TOOLS/uml-host.so ]]; then
		cp "$CL_TOOLS/uml-host.so" /mnt/bin || bail "cannot copy uml-host.so"
		cl_preload=/mnt/bin/uml-host.so
	fi
	[[ ${CL_CACHE:-} ]] && cp "$CL_CACHE"/*.tar /mnt/bin
}

tcpdump_start() {
	dumpcap -q -i $CL_BRIDGE -w /mnt/log/capture.pcapng >/mnt/log/dumpcap 2>&1 &
	cl_capture=$!
	wait_line /mnt/log/dumpcap 'File:' 10 || bail "dumpcap does not start"
}

# Ends one of our processes without bash having a word to say about it.
end_now() { { kill -KILL $1 && wait $1; } 2>/dev/null; }

cl_guests=() cl_server_pid='' cl_capture='' cl_preload=''
cl_end() {
	local status=$? id
	trap '' TERM INT HUP
	for id in "${cl_guests[@]}"; do
		end_now "${guest_pid[$id]}"
	done
	[[ $cl_server_pid ]] && end_now "$cl_server_pid"
	[[ $cl_capture ]] && kill -INT "$cl_capture" 2>/dev/null && wait "$cl_capture"
	if [[ ${CL_KEEP:-} ]]; then
		mkdir -p "$CL_KEEP"
		cp -r /mnt/log "$CL_KEEP"
		for id in "${cl_guests[@]}"; do
			mkdir -p "$CL_KEEP/g$id"
			cp /mnt/g$id/console /mnt/g$id/*.out /mnt/g$id/dmesg "$CL_KEEP/g$id" 2>/dev/null
		done
	fi
	exit $status
}

# disk DIR SIZE [FS]: mounts a fresh file system on DIR. Its image lives in memory: fsync costs nothing, and it
# disappears with the world.
disk_count=0
disk() {
	local dir=$1 size=$2 fs=${3:-$CL_FS} image=/mnt/disk$((disk_count++))
	if [[ $fs == tmpfs ]]; then
		mount -t tmpfs -o mode=755,size=$size atoll-export "$dir"
		return
	fi
	truncate -s "$size" $image
	case $fs in
	ext4) mkfs.ext4 -q -F -O ^has_journal -E lazy_itable_init=1 -m 0 $image ;;
	xfs) mkfs.xfs -q -f $image ;;
	btrfs) mkfs.btrfs -q -f $image ;;
	*) bail "CL_FS=$fs is not known" ;;
	esac || bail "mkfs.$fs fails"
	mount -o loop $image "$dir" || bail "cannot mount a loop device"
	rmdir "$dir/lost+found" 2>/dev/null
	return 0
}

# wait_line FILE PATTERN SECONDS [PID]: waits until a line of the growing FILE matches, or PID is gone.
wait_line() {
	local file=$1 pattern=$2 limit=$3 pid=${4:-$$}
	grep -q -E -m 1 -e "$pattern" < <(exec timeout "$limit" tail -n +1 -F -s 0.1 --pid="$pid" "$file" 2>/dev/null)
}

# --- the server ----------------------------------------------------------------------------------------------------
# server_start ARGS... exports /mnt/export; server_start -c FILE serves a configuration. One server at a time.

server_log=/mnt/log/server.log
server_start() {
	case $CL_SERVER in
	atoll) atoll_start "$@" ;;
	ganesha) ganesha_start "$@" ;;
	*) bail "CL_SERVER=$CL_SERVER is not known" ;;
	esac
}

atoll_start() {
	local command
	[[ -x ${ATOLL:-} ]] || bail "ATOLL=${ATOLL:-} is not a program"
	if [[ ${1:-} == -c ]]; then
		command=("$ATOLL"d "$@")
	else
		mkdir -p /mnt/state
		command=("$ATOLL" serve /mnt/export --listen $CL_HOST --port 2049 --allow $CL_NET.0/24 --no-root-squash
			--state /mnt/state "$@")
	fi
	"${command[@]}" ${CL_SERVER_ARGS:-} >>$server_log 2>&1 </dev/null &
	cl_server_pid=$!
	wait_line $server_log '^ready$' 30 $cl_server_pid || {
		tail -n 30 $server_log | diag
		bail "the server does not get ready"
	}
}

ganesha_start() {
	[[ ${1:-} == -c ]] && skip_all "no configuration for ganesha"
	mkdir -p /run/ganesha && mount -t tmpfs tmpfs /run/ganesha && mount -t tmpfs tmpfs /var/lib/nfs
	mkdir -p /var/lib/nfs/ganesha /var/lib/nfs/rpc_pipefs
	cat >/mnt/ganesha.conf <<-E
	NFS_CORE_PARAM { NFS_Protocols = 4; Bind_addr = $CL_HOST; NFS_Port = 2049; Enable_UDP = false;
		Enable_NLM = false; Enable_RQUOTA = false; }
	NFSv4 { Graceless = true; Only_Numeric_Owners = true; Minor_Versions = 0, 1, 2; Lease_Lifetime = 30; }
	EXPORT { Export_Id = 1; Path = /mnt/export; Pseudo = /; Access_Type = RW; Squash = No_Root_Squash;
		SecType = sys; Protocols = 4; Transports = TCP; FSAL { Name = VFS; } }
	LOG { Default_Log_Level = EVENT; }
	E
	ganesha.nfsd -F -L $server_log -f /mnt/ganesha.conf -p /mnt/ganesha.pid >/mnt/log/ganesha.out 2>&1 </dev/null &
	cl_server_pid=$!
	wait_line $server_log 'NFS SERVER INITIALIZED' 30 $cl_server_pid || bail "ganesha does not get ready"
}

# Where the server's threads are: kept with the logs when something hangs.
server_stacks() {
	command -v gdb >/dev/null && kill -0 "$1" 2>/dev/null || return 0
	timeout 60 gdb -p "$1" -batch -ex 'thread apply all bt 20' >>/mnt/log/server-stacks 2>/dev/null </dev/null
}

server_alive() { kill -0 "$cl_server_pid" 2>/dev/null; }

# Ends the server as an administrator would; it has 20 seconds and must exit with status 0.
server_stop() {
	local pid=$cl_server_pid status
	cl_server_pid=''
	kill -TERM "$pid" 2>/dev/null || { echo "the server is gone"; return 1; }
	timeout 20 tail -f -s 0.05 --pid="$pid" /dev/null || {
		echo "the server does not end"
		server_stacks "$pid"
		kill -KILL "$pid"
	}
	wait "$pid"
	status=$?
	((status == 0)) || { echo "the server ended with status $status"; tail -n 40 $server_log; return 1; }
}

# The server dies without a word, as in a crash.
server_kill() { end_now "$cl_server_pid"; }

# server_log_clean [EXPECTED]: there are no messages that a server must not have reason to write, but for EXPECTED.
server_log_clean() { log_clean $server_log "$@"; }
log_clean() {
	local log=$1 bad='Sanitizer|runtime error:|assert|invariant|corrupt|leak|(client|session|state|lease|stateid).*(error|expired|lost)'
	! grep -v -E -e "${2:-^\$}" "$log" | grep -E -i "$bad"
}

# --- guests --------------------------------------------------------------------------------------------------------

declare -A guest_pid guest_in guest_out
declare -A cl_kernel_args # more arguments of a guest's kernel, e.g. ubd0c=FILE for a disk that guests share

guest_addr() { echo $CL_NET.$((10 + $1)); }

# guest_boot ID...: boots guests side by side and waits for them.
guest_boot() {
	local id
	for id in "$@"; do
		guest_spawn "$id"
	done
	for id in "$@"; do
		guest_reply "$id" 60 && [[ $guest_answer == up ]] || {
			tail -n 40 /mnt/g$id/console | diag
			bail "guest $id does not boot"
		}
	done
}

guest_spawn() {
	local id=$1 box=/mnt/g$1 in out
	mkdir -p $box
	rm -f $box/in $box/out
	mkfifo $box/in $box/out
	exec {in}<>$box/in {out}<>$box/out
	guest_in[$id]=$in guest_out[$id]=$out
	ip tuntap add dev tap$id mode tap 2>/dev/null
	ip link set tap$id master $CL_BRIDGE up || bail "cannot make a tap"
	# in a process namespace of its own, so that its end is the end of all its processes
	LD_PRELOAD=$cl_preload unshare --pid --fork --kill-child linux.uml mem=${CL_MEM:-768M} quiet umid=uml uml_dir=$box/ rootfstype=hostfs rootflags=/ ro \
		init=/mnt/bin/guest-init cl_id=$id cl_addr=$(guest_addr $id)/24 cl_addr6=$CL_NET6:1$id/64 cl_host=$CL_HOST \
		vec0:transport=tap,ifname=tap$id,depth=64,gro=1,mac=02:00:00:00:00:$(printf %02x $id) \
		con=null con0=null,fd:1 ssl=null ssl0=fd:$in,fd:$out ${cl_kernel_args[$id]:-} </dev/null >>$box/console 2>&1 &
	guest_pid[$id]=$!
	[[ " ${cl_guests[*]} " == *" $id "* ]] || cl_guests+=($id)
}

# Reads the next line from a guest into guest_answer.
guest_reply() {
	guest_answer=
	IFS= read -r -t "$2" -u ${guest_out[$1]} guest_answer
}

# on_start ID COMMAND: starts a command in a guest; on_wait ID [SECONDS] gets its output and exit status. A guest runs
# one such command at a time; what that leaves in the background goes on.
on_start() {
	local id=$1 seq=${EPOCHREALTIME/./}
	printf '%s\n' "$2" >/mnt/g$id/$seq.sh
	echo $seq >/mnt/g$id/running
	echo $seq >&${guest_in[$id]}
}

on_wait() {
	local id=$1 limit=${2:-60} seq status
	seq=$(</mnt/g$id/running)
	guest_reply $id "$limit" || {
		cat /mnt/g$id/$seq.out
		echo "guest $id does not answer within $limit s"
		echo "--- its console:"
		tail -n 40 /mnt/g$id/console
		return 124
	}
	cat /mnt/g$id/$seq.out
	status=${guest_answer#"$seq "}
	[[ $status =~ ^[0-9]+$ ]] || { echo "guest $id answers \"$guest_answer\""; return 125; }
	rm -f /mnt/g$id/$seq.sh /mnt/g$id/$seq.out
	return "$status"
}

on() {
	on_start "$1" "$2"
	on_wait "$1" "${3:-60}"
}

# Ends a guest in good order; its kernel log is in /mnt/gN/dmesg afterwards.
guest_stop() {
	local id=$1
	echo off >&${guest_in[$id]}
	guest_reply $id 60 || { echo "guest $id does not shut down"; return 1; }
	wait "${guest_pid[$id]}"
	guest_log_clean $id
}

# A power failure: the guest is gone without a word. Its process namespace is emptied before this returns.
guest_kill() {
	local pid=${guest_pid[$1]}
	end_now "$(</proc/$pid/task/$pid/children)"
	wait "$pid" 2>/dev/null
	ip link del tap$1
}

# What a client's kernel says when a server treats it wrongly.
guest_log_clean() {
	local bad='NFS: .*(error|fail|bug|invalid|bad)|nfs4_|NFSv4: (state|lost|recover)|state manager|lease.*fail|reclaim'
	bad+='|Error -?[0-9]+|bad sequence|\<BUG\>|WARNING|Oops|call trace|general protection|hung|blocked for more'
	bad+='|RPC: .*(invalid|fail|error)|server.*(not responding|timed out)|readdir loop|fileid changed|cookie'
	! grep -E -i "$bad" /mnt/g$1/dmesg
}

# both COMMAND [SECONDS]: on guests 1 and 2 at the same time; fails if it fails on one.
both() {
	local status=0
	on_start 1 "$1"
	on_start 2 "$1"
	on_wait 1 "${2:-60}" || status=$?
	on_wait 2 "${2:-60}" || status=$?
	return $status
}

# The address that a guest mounts from.
server_addr() { echo $CL_HOST; }

# nfs_mount ID DIR [OPTIONS] [PATH]: mounts the server in a guest.
nfs_mount() {
	on "$1" "mkdir -p $2 && mount -t nfs -o '${3:-}${3:+,}proto=tcp,port=2049,sec=sys' $(server_addr "$1"):${4:-/} $2" 60
}

# --- cases that run in a guest -------------------------------------------------------------------------------------
# cases/*.sh hold shell functions case_NAME; the line before one is its tag, all parts optional:
#
#   #: limit=SECONDS needs=PROGRAM,... only=FLAVOUR,... short=FLAVOUR,...
#
# A flavour is a minor version, 4.0 4.1 4.2, or one with four connections, n4.1 n4.2. `only` says for which a case
# means anything (default: all); `short` in which the short set runs it (default: 4.0,4.1,4.2; short=no: in none).

# cases_list FILE...: "file name limit needs only short" of each case
cases_list() {
	awk '
	function value(key, missing) { return key in tag ? tag[key] : missing }
	/^#:/ { for (i = 2; i <= NF; i++) { split($i, kv, "="); tag[kv[1]] = kv[2] } next }
	/^case_[a-z0-9_]+\(\)/ {
		name = $1; sub(/^case_/, "", name); sub(/\(\).*/, "", name)
		n = split(FILENAME, path, "/")
		print path[n], name, value("limit", 60), value("needs", "-"), \
			value("only", "4.0,4.1,4.2,n4.1,n4.2"), value("short", "4.0,4.1,4.2")
	}
	{ delete tag }' "$@"
}

# Whether FLAVOUR runs a case with these only= and short= tags.
case_applies() {
	[[ ,$2, == *,$1,* ]] && [[ $CL_SET == long || $CL_ONLY != '*' || ,$3, == *,$1,* ]]
}

# run_cases ID MOUNTDIR FLAVOUR FILE...: runs the cases of some files that are meant for this flavour in one guest, in
# a fresh folder of the mount each.
run_cases() {
	local id=$1 dir=$2 flavour=$3 file name limit needs only short status start program missing stuck=0
	shift 3
	while read -r -u 9 file name limit needs only short; do
		wanted "$name" && case_applies "$flavour" "$only" "$short" || continue
		[[ $needs == - ]] && needs=
		missing=
		for program in ${needs//,/ }; do
			command -v "$program" >/dev/null || missing+=" $program"
		done
		[[ $missing ]] && { skip "$name" "not installed:$missing"; continue; }
		start=$EPOCHREALTIME
		on_start $id "CL_SET=$CL_SET CL_VERS=${flavour#n} exec /mnt/bin/guest-case $dir $file $name $limit"
		on_wait $id $((limit + 30)) >/mnt/log/case.out
		status=$?
		report "$name" $status "$(</mnt/log/case.out)"
		seconds_since "$start"
		server_alive || { tail -n 60 $server_log | diag; bail "the server is gone"; }
		case $status in
		124 | 125 | 137) ((++stuck < 2)) || bail "the guest is stuck" ;;
		esac
	done 9< <(cases_list "$@")
}

seconds_since() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "# %.1f s\n", b - a }'; }

# finish: last command of a test. Prints the plan; fails if a case failed.
finish() {
	echo "1..$cl_count"
	((cl_failed == 0))
	exit
}

# CL_SERVER=cluster: three nodes instead of one server, each guest mounts from another one.
[[ $CL_SERVER != cluster ]] || . "$CL_SRC/../cluster/cluster.sh"
