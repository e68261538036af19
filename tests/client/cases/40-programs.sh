# Real programs.

# Unpack, configure, build and check a source package.
build_package() {
	[[ -f /mnt/bin/$1.tar ]] || skip "the source of $1 could not be downloaded (apt-get source)"
	tar xf /mnt/bin/$1.tar
	cd $1-*
	./configure >../log 2>&1 || { tail -20 ../log; return 1; }
	make -j2 >../log 2>&1 || { tail -20 ../log; return 1; }
	make check >../log 2>&1 || { tail -20 ../log; return 1; }
}

#: limit=180 needs=gcc,make,tar,xz short=4.0,4.1,4.2
case_source_package() {
	build_package ed
	grep -q '^tests completed successfully' ../log # a word about clock skew may follow
	eq "$(printf 'a\nworks\n.\nw f\nq\n' | ./ed -s && cat f)" works
}

# A configure script that takes minutes here.
#: limit=900 needs=gcc,make,tar,gzip short=no
case_source_package_with_autoconf() {
	build_package hello
	grep -q '# FAIL: *0' ../log
	eq "$(./hello)" 'Hello, world!'
}

#: limit=300 needs=git short=4.2
case_git() {
	local n=$(pick 2000 6000)
	export HOME=/tmp GIT_CONFIG_NOSYSTEM=1 GIT_AUTHOR_NAME=t GIT_AUTHOR_EMAIL=t@t GIT_COMMITTER_NAME=t \
		GIT_COMMITTER_EMAIL=t@t
	mkdir /tmp/origin
	git init -q /tmp/origin
	N=$n perl -e 'for my $i (1..$ENV{N}) { my $d = "/tmp/origin/d" . $i % 50; mkdir $d; open F, ">", "$d/f$i" or die;
		print F "file $i line $_\n" for 1..$i % 40 + 1; close F or die }'
	git -C /tmp/origin add .
	git -C /tmp/origin commit -q -m one
	git -C /tmp/origin rm -q -r d7
	git -C /tmp/origin commit -q -m two
	git clone -q --no-local /tmp/origin clone
	cd clone
	git fsck --full --strict
	eq "$(git status --porcelain)" ''
	git repack -q -a -d -f
	git gc -q
	git fsck --full
	drop
	git fsck --full
	eq "$(git status --porcelain)" ''
	diff -r --exclude=.git /tmp/origin .
	git checkout -q HEAD~1
	eq "$(ls d7 | wc -l)" $((n / 50))
	rm -rf /tmp/origin
}

#: limit=180 needs=sqlite3 short=4.0,4.1,4.2
case_sqlite_writers() {
	local i pids=() rows=$(pick 25 200)
	sqlite3 db 'CREATE TABLE t (writer INT, n INT, payload TEXT); CREATE UNIQUE INDEX u ON t (writer, n);'
	for i in 1 2 3 4; do
		{
			echo .timeout 120000
			for n in $(seq $rows); do
				echo "INSERT INTO t VALUES ($i, $n, hex(randomblob($((n * 7 % 900)))));"
			done
		} | sqlite3 -bail db &
		pids+=($!)
	done
	for i in "${pids[@]}"; do wait $i; done
	drop
	eq "$(sqlite3 db 'PRAGMA integrity_check')" ok
	eq "$(sqlite3 db 'SELECT count(*), count(DISTINCT writer), max(n) FROM t')" "$((rows * 4))|4|$rows"
	sqlite3 db 'DELETE FROM t WHERE writer = 2; VACUUM;'
	eq "$(sqlite3 db 'PRAGMA integrity_check; SELECT count(*) FROM t')" "ok
$((rows * 3))"
}

fio_run() {
	fio --output=/tmp/fio.log --thread --group_reporting --directory=. --verify=crc32c --verify_fatal=1 \
		--verify_state_save=0 --fallocate=none --randrepeat=1 --unlink=1 "$@" || { tail -30 /tmp/fio.log; return 1; }
}

#: limit=240 needs=fio short=4.0,4.2,n4.1,n4.2
case_fio_verify() {
	local bs size=$(pick 8M 64M)
	for bs in 4k 64k 1M; do
		fio_run --bs=$bs --size=$size --name=seq --rw=write --end_fsync=1 \
			--name=random --rw=randwrite --name=mixed --rw=randrw
		fio_run --bs=$bs --size=$size --name=direct --rw=randwrite --direct=1
	done
	fio_run --bs=4k --size=2M --name=sync --rw=randwrite --sync=1
	fio_run --bs=16k --size=$size --name=mmap --ioengine=mmap --rw=randwrite
	fio_run --bsrange=512-128k --bs_unaligned --size=$size --numjobs=4 --name=odd --rw=randwrite
}

#: limit=120 needs=dbench short=4.1,4.2,n4.1,n4.2
case_dbench() {
	dbench -c /usr/share/dbench/client.txt -D . -t $(pick 6 60) 8 >/tmp/dbench.log 2>&1 ||
		{ tail -20 /tmp/dbench.log; return 1; }
	grep Throughput /tmp/dbench.log
	! grep -v 'barrier semaphore' /tmp/dbench.log | grep -E 'ERROR|failed'
}

# Each stressor by itself, so that a failure has a name; bounded by operations and, as some of those are large, by time.
stress() {
	local name ops options
	while (($#)); do
		IFS='= ' read -r name ops options <<<"$1"
		long && ((ops *= 20))
		# shellcheck disable=SC2086
		stress-ng --temp-path . --verify --timeout $(pick 6 60) --$name 2 --$name-ops $ops $options \
			>/tmp/stress.log 2>&1 ||
			{ echo "stressor $name:"; grep -v 'dispatching\|setting to' /tmp/stress.log | tail -15; return 1; }
		echo "$name: $SECONDS s"
		shift
	done
}

#: limit=180 needs=stress-ng short=4.2
case_stress_names() {
	stress access=50 'chdir=200 --chdir-dirs 64' chmod=60 chown=60 'dentry=2000 --dentries 256' dir=200 dirdeep=100 \
		dirmany=300 filename=50 rename=500 touch=300 getdent=500 open=500
}

#: limit=900 needs=stress-ng short=no
case_stress_links() {
	stress link=1 symlink=1 unlink=5
}

#: limit=180 needs=stress-ng short=4.0,n4.2
case_stress_data() {
	stress copy-file=20 fstat=200 hdd=1000 io=20 iomix=200 mmap=2 readahead=50 seek=300 sendfile=100 \
		sync-file=5 utime=200 fcntl=200
}

#: limit=180 needs=stress-ng short=4.0,4.2,n4.2
case_stress_locks() {
	stress flock=2000 locka=1000 lockf=1000 lockofd=1000
}

#: limit=180 needs=stress-ng only=4.2,n4.2 short=4.2
case_stress_holes() {
	stress fallocate=10 fpunch=10
}
