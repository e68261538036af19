#!/bin/sh
# The two programs as people meet them: help, exit statuses, messages, start, reload, end.
#
# usage: commands.sh ATOLL ATOLLD
#
# Writes TAP. Runs in network and mount namespaces of its own, which takes root; without it the
# cases that need a server are skipped.
set -u

if [ "$(id -u)" = 0 ] && [ "${COMMANDS_INSIDE-}" != yes ]; then
	COMMANDS_INSIDE=yes exec unshare -n -m "$0" "$@"
fi

atoll=$(realpath "$1") atolld=$(realpath "$2")
dir=$(mktemp -d) || exit 99
server=
number=0

cleanup() {
	[ -z "$server" ] || kill -KILL "$server" 2>/dev/null
	rm -rf "$dir"
}
trap cleanup EXIT
trap 'exit 99' HUP INT TERM

# result NAME: reports by the status of the command before it; shows what was printed if bad.
result() {
	status=$?
	number=$((number + 1))
	if [ $status = 0 ]; then
		echo "ok $number - $1"
	else
		echo "not ok $number - $1"
		sed 's/^/# /' "$dir/out" "$dir/err" 2>/dev/null
	fi
}

skip() {
	number=$((number + 1))
	echo "ok $number - $1 # SKIP $2"
}

# gives STATUS COMMAND...: runs it, output in $dir/out and $dir/err.
gives() {
	want=$1
	shift
	timeout 30 "$@" >"$dir/out" 2>"$dir/err" </dev/null
	got=$?
	[ $got = "$want" ] || echo "status $got instead of $want from: $*" >>"$dir/err"
	[ $got = "$want" ]
}

# fails STATUS TEXT COMMAND...: with TEXT on stderr, in one line that begins like a message, and
# nothing on stdout.
fails() {
	want=$1 text=$2
	shift 2
	gives "$want" "$@" && grep -qF -e "$text" "$dir/err" && ! [ -s "$dir/out" ]
}

# one_line: the message was one line.
one_line() {
	[ "$(wc -l <"$dir/err")" = 1 ]
}

# prints TEXT COMMAND...: succeeds with TEXT on stdout.
prints() {
	text=$1
	shift
	gives 0 "$@" && grep -qF -e "$text" "$dir/out" && ! [ -s "$dir/err" ]
}

# ---- help and wrong command lines ----

fails 2 'usage: atoll SUBCOMMAND' "$atoll"
result 'atoll alone is a usage error'
prints 'usage: atoll SUBCOMMAND' "$atoll" --help
result 'atoll --help'
prints 'atoll 0.' "$atoll" --version
result 'atoll --version'
fails 2 "found \`srve'; expected a subcommand" "$atoll" srve
result 'an unknown subcommand'
for sub in serve check status clients sessions locks exports reload restart ping; do
	prints "usage: atoll $sub" "$atoll" $sub --help
	result "atoll $sub --help"
	fails 2 option "$atoll" $sub --nonsense
	result "atoll $sub with an unknown option"
done
fails 2 'usage: atoll check' "$atoll" check
result 'atoll check without a file'
fails 2 'usage: atoll ping' "$atoll" ping
result 'atoll ping without a host'
fails 2 'usage: atoll ping' "$atoll" ping a b
result 'atoll ping with two hosts'
for target in '' : :2049 host:0 host:65536 host:x '[::1' '[::1]x' '[::1]:'; do
	fails 2 'expected HOST or HOST:PORT' "$atoll" ping "$target"
	result "atoll ping '$target'"
done
for seconds in 0 -1 x 3601 ''; do
	fails 2 'expected seconds' "$atoll" ping -t "$seconds" localhost
	result "atoll ping -t '$seconds'"
done
fails 2 'found no directory' "$atoll" serve
result 'atoll serve without a directory'
fails 2 'found several directories' "$atoll" serve / /
result 'atoll serve with two directories'
while IFS='|' read -r words text; do
	# shellcheck disable=SC2086
	fails 2 "$text" "$atoll" serve / $words
	result "atoll serve / $words"
done <<'END'
--port|found no value
--port x|--port: found `x'; expected a number
--port 65536|--port: found `65536'
--lease 0|--lease: found `0'; expected a number from 1 to 3600
--cache-time 9|--cache-time: found `9'; expected a number from 10 to 86400
--listen localhost|--listen: found `localhost'; expected an IPv4 or IPv6 address
--listen 127.0.0.1:x|--listen: found
--allow 10.0.0.0/33|prefix length
--allow @|netgroup
--allow a --allow A|a second time
--backend A/B|name of a backend
--log-level loud|expected error, warning
--config /dev/null|--serve and --config
END
prints 'usage: atolld' "$atolld" --help
result 'atolld --help'
prints 'atolld 0.' "$atolld" --version
result 'atolld --version'
fails 2 "found the option \`--nonsense'" "$atolld" --nonsense
result 'atolld with an unknown option'
fails 2 'without an option before it' "$atolld" word
result 'atolld with a word'
fails 2 'option of --serve without it' "$atolld" --ro
result 'atolld with an option of --serve'
fails 2 'expected error, warning' "$atolld" -c /dev/null --log-level loud
result 'atolld --log-level'

# ---- check ----

cat >"$dir/good" <<'END'
# two exports
/srv	-ro 10.0.0.0/255.0.0.0 *.example.org(rw,all_squash)
"/with space" @trusted(sec=krb5:sys,fsid=5)
END
prints '10.0.0.0/8(ro,' "$atoll" check "$dir/good"
result 'check shows networks as they are understood'
prints '*.example.org(rw,root_squash,all_squash,' "$atoll" check "$dir/good"
result 'check shows options'
prints '/with space' "$atoll" check "$dir/good"
result 'check shows paths'
printf '/a b(rw)\n/c d(rw,fast)\n' >"$dir/bad"
fails 1 "$dir/bad:2:9: found \`fast'" "$atoll" check "$dir/bad" && one_line
result 'check names file, line and column'
gives 1 "$atoll" check "$dir/bad" "$dir/good" && grep -qF '*.example.org' "$dir/out"
result 'check goes on after a bad file'
fails 1 "$dir/missing: cannot open: No such file" "$atoll" check "$dir/missing" && one_line
result 'check of a file that is not there'
mkdir "$dir/exports.d"
cp "$dir/good" "$dir/exports.d/a.exports"
cp "$dir/bad" "$dir/exports.d/b.exports"
fails 1 "$dir/exports.d/b.exports:2:9:" "$atoll" check "$dir/exports.d"
result 'check of a directory'
printf '[atolld]\nexports = %s\nlease-time = 33\ncache-time = 3600\n' "$dir/good" >"$dir/conf"
prints 'lease-time = 33' "$atoll" check "$dir/conf" && grep -qxF 'cache-time = 3600' "$dir/out"
result 'check knows atoll.conf by its section'
grep -qF '/with space' "$dir/out"
result 'check of atoll.conf goes on to the exports'
printf '[atolld]\nexports = %s\n' "$dir/bad" >"$dir/conf"
gives 1 "$atoll" check "$dir/conf" && grep -qF "$dir/bad:2:9:" "$dir/err"
result 'check of atoll.conf finds errors in the exports'
printf 'port = 1\n' >"$dir/x.conf"
fails 1 "$dir/x.conf:1: found \`port' before any section" "$atoll" check "$dir/x.conf" && one_line
result 'check knows atoll.conf by its name'
gives 1 sh -c "'$atoll' check '$dir/good' >/dev/full"
result 'check that cannot write its output'

# ---- starting that fails ----

fails 1 "cannot serve $dir/missing: No such file or directory" "$atoll" serve "$dir/missing" &&
	one_line
result 'serve of a directory that is not there'
fails 1 "cannot serve $dir/good: Not a directory" "$atoll" serve "$dir/good" && one_line
result 'serve of a file'
fails 1 "$dir/missing: cannot open" "$atolld" -c "$dir/missing" && one_line
result 'atolld with a configuration that is not there'
fails 1 "$dir/x.conf:1: found" "$atolld" -c "$dir/x.conf" && one_line
result 'atolld with a bad configuration'
fails 1 'Connection refused' "$atoll" ping 127.0.0.1:1 ||
	fails 1 'Network is unreachable' "$atoll" ping 127.0.0.1:1
result 'ping of nobody'

if [ "$(id -u)" != 0 ]; then
	skip 'everything with a server' 'needs root'
	echo "1..$number"
	exit 0
fi

# ---- a server ----

ip link set lo up
mkdir "$dir/data"
mkfifo "$dir/fifo"

# start COMMAND...: until it says ready; its stdout is in $dir/out, its log in $dir/log.
start() {
	: >"$dir/out"
	"$@" >"$dir/fifo" 2>"$dir/log" </dev/null &
	server=$!
	while read -r line; do
		echo "$line" >>"$dir/out"
		[ "$line" != ready ] || break
	done <"$dir/fifo"
	port=$(sed -n 's/^mount .*port=\([0-9]*\) .*/\1/p' "$dir/out")
	cp "$dir/log" "$dir/err"
	[ "$line" = ready ]
}

# stop SIGNAL: the server must end with status 0.
stop() {
	kill "-$1" "$server"
	wait "$server"
	status=$?
	server=
	cp "$dir/log" "$dir/err"
	return $status
}

# logs TEXT: waits until the log has it.
logs() {
	# shellcheck disable=SC2016
	timeout 10 sh -c 'tail -n +1 -f "$1" | grep -qF -m1 -e "$2"' sh "$dir/log" "$1"
}

serve() {
	start "$atoll" serve "$dir/data" --port 0 --state "$dir/state" "$@"
}

fails 1 'cannot create the state directory /dev/null/x' \
	"$atoll" serve "$dir/data" --port 0 --state /dev/null/x && one_line
result 'serve without a place for its state'
fails 1 'cannot listen on 203.0.113.1 port 2049: Cannot assign requested address' \
	"$atoll" serve "$dir/data" --state "$dir/state" --listen 203.0.113.1 && one_line
result 'serve on an address of another machine'
fails 1 'no privileges to serve directories: CAP_CHOWN' setpriv --bounding-set -all \
	--inh-caps -all "$atoll" serve "$dir/data" --port 0 --state "$dir/state" && one_line
result 'serve without privileges'
fails 1 "backend" "$atoll" serve "$dir/data" --port 0 --state "$dir/state" --backend nosuch &&
	one_line
result 'serve with a backend that is not there'

serve
result 'serve says ready'
grep -qx "mount -t nfs4 -o port=$port 127.0.0.1:/ /mnt" "$dir/out"
result 'serve prints the mount command'
prints "127.0.0.1:$port: NFS version 4 answered in" "$atoll" ping "127.0.0.1:$port"
result 'ping'
prints "[::1]:$port: NFS version 4 answered in" "$atoll" ping "[::1]:$port"
result 'ping by IPv6'
fails 1 "cannot listen on 127.0.0.1 port $port: Address already in use" \
	"$atoll" serve "$dir/data" --port "$port" --state "$dir/state" && one_line
result 'serve on a port in use'
sockets=$(ss -Hltn "sport = :$port" | awk '{ print $4 }' | sort | tr '\n' ' ')
[ "$sockets" = "127.0.0.1:$port [::1]:$port " ] || { echo "$sockets" >"$dir/out" && false; }
result 'serve listens on loopback only'
[ "$(stat -c %a "$dir/state/handle.key")" = 600 ] && cp "$dir/state/handle.key" "$dir/key"
result 'the key is private'
grep -q '^NoNewPrivs:.*1$' "/proc/$server/status" &&
	! grep -q '^CapBnd:.*ffffffff$' "/proc/$server/status"
result 'privileges are given up'
# As a version wrote it that did not say who lasts.
read -r pid instance _ <"$dir/state/atolld.pid" && echo "$pid $instance" >"$dir/state/atolld.pid" &&
	prints 'restarted in' "$atoll" restart --state "$dir/state"
result 'restart of an older version'
prints 'restarted in' "$atoll" restart --state "$dir/state"
result 'restart'
stop TERM
result 'SIGTERM ends it with status 0'
fails 1 'Connection refused' "$atoll" ping "127.0.0.1:$port"
result 'nobody listens afterwards'
serve --listen 127.0.0.1 && cmp -s "$dir/key" "$dir/state/handle.key"
result 'the key stays the same'
fails 1 'Connection refused' "$atoll" ping "[::1]:$port"
result '--listen is all that is listened on'
stop INT
result 'SIGINT ends it with status 0'
serve --allow 192.0.2.0/24 --ro &&
	[ "$(ss -Hltn "sport = :$port" | awk '{ print $4 }' | sort | tr '\n' ' ')" = \
		"0.0.0.0:$port [::]:$port " ] &&
	grep -qxF 'clients: 192.0.2.0/24' "$dir/out" && grep -q '^serving .*,ro,' "$dir/out"
result '--allow listens everywhere'
stop TERM
result 'SIGTERM ends that one too'
for backend in memory computed; do
	serve --backend $backend && "$atoll" ping "127.0.0.1:$port" >/dev/null
	result "serve --backend $backend"
	stop TERM
	result 'and its end'
done
# shellcheck disable=SC2016
start sh -c 'cd "$1" && exec "$2" serve data --port 0 --state relative' sh "$dir" "$atoll" &&
	[ -f "$dir/relative/handle.key" ]
result 'relative paths'
stop TERM
result 'and its end'

# ---- atolld with a configuration ----

cat >"$dir/conf" <<END
[atolld]
listen = 127.0.0.1
port = 2049
exports = $dir/exports
state-dir = $dir/state
rpcbind = no
END
echo "$dir/data 127.0.0.1(rw,insecure)" >"$dir/exports"
start "$atolld" -c "$dir/conf"
result 'atolld says ready'
prints '127.0.0.1:2049: NFS version 4 answered' "$atoll" ping 127.0.0.1
result 'the default port'
echo "$dir/data 127.0.0.1(rw,insecure,bad)" >"$dir/exports"
kill -HUP "$server"
logs "$dir/exports:1:" && logs 'what could not be read stays as it was'
result 'SIGHUP with a bad file changes nothing'
echo "$dir/data 127.0.0.1(ro,insecure)" >"$dir/exports"
kill -HUP "$server"
logs 'exports read again'
result 'SIGHUP reads the exports again'
stop TERM
result 'atolld ends with status 0'
echo "$dir/missing *(rw)" >"$dir/exports"
fails 1 "$dir/exports:1: $dir/missing: no such directory" "$atolld" -c "$dir/conf"
result 'atolld with an export that is not there'

# systemd is told; python3 is there, as meson needs it.
echo "$dir/data *(ro)" >"$dir/exports"
if "$atolld" --help >/dev/null && ldd "$atolld" | grep -q libsystemd; then
	cat >"$dir/notify.py" <<'END'
import os, signal, socket, subprocess, sys
path, command = sys.argv[1], sys.argv[2:]
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(path)
s.settimeout(30)
p = subprocess.Popen(command, env=dict(os.environ, NOTIFY_SOCKET=path))
try:
    assert s.recv(4096) == b'READY=1'
    p.send_signal(signal.SIGHUP)
    assert s.recv(4096).startswith(b'RELOADING=1')
    assert s.recv(4096) == b'READY=1'
    p.terminate()
    assert s.recv(4096) == b'STOPPING=1'
    assert p.wait(30) == 0
finally:
    p.kill()
END
	gives 0 python3 "$dir/notify.py" "$dir/notify" "$atolld" -c "$dir/conf"
	result 'systemd is notified'
else
	skip 'systemd is notified' 'built without libsystemd'
fi

if command -v rpcbind >/dev/null && command -v rpcinfo >/dev/null; then
	mount -t tmpfs tmpfs /run
	sed 's/^rpcbind = .*/rpcbind = yes/' "$dir/conf" >"$dir/rpcbind.conf"
	start "$atolld" -c "$dir/rpcbind.conf" && logs 'not registered with rpcbind, which does not run'
	result 'without rpcbind it says so and goes on'
	stop TERM
	result 'and ends'
	rpcbind -f -w >/dev/null 2>&1 &
	rpcbind=$!
	timeout 10 sh -c 'until [ -S /run/rpcbind.sock ] && rpcinfo >/dev/null 2>&1; do :; done'
	start "$atolld" -c "$dir/rpcbind.conf" && logs 'registered port 2049 with rpcbind' &&
		rpcinfo >"$dir/out" && grep -q '100003 *4 *tcp *0.0.0.0.8.1' "$dir/out"
	result 'registered with rpcbind'
	stop TERM && rpcinfo >"$dir/out" && ! grep -q 100003 "$dir/out"
	result 'and unregistered at the end'
	kill "$rpcbind"
	wait "$rpcbind" 2>/dev/null
else
	skip 'rpcbind' 'rpcbind is not installed'
fi

# ---- somebody who does not answer ----

cat >"$dir/silent.py" <<'END'
import socket
s = socket.socket()
s.bind(('127.0.0.1', 0))
s.listen()
print(s.getsockname()[1], flush=True)
print('ready', flush=True)
c, _ = s.accept()
while c.recv(4096):
    pass
END
start python3 "$dir/silent.py"
port=$(head -n 1 "$dir/out")
fails 1 'Timed out' "$atoll" ping -t 0.3 "127.0.0.1:$port"
result 'ping gives up'
wait "$server"
server=

echo "1..$number"
