# Contents, byte by byte: cl-pattern.c knows what each byte must be.
#: limit=60
case_write_read() {
	local bs
	cl-pattern write f.1 6 0 20000 bs=1
	for bs in 511 4k 5000 64k 1M 3M; do
		cl-pattern write f.$bs 7 0 4M bs=$bs
	done
	drop
	cl-pattern check f.1 6 0 20000 bs=1 size=20000
	for bs in 511 4k 5000 64k 1M 3M; do
		cl-pattern check f.$bs 7 0 4M size=4194304
	done
}

#: limit=60 short=4.0,4.1,4.2,n4.1,n4.2
case_write_modes() {
	cl-pattern write direct 1 0 4M bs=64k direct
	cl-pattern write big_direct 2 0 8M bs=4M direct
	cl-pattern write sync 3 0 1M bs=16k sync
	cl-pattern write mapped 4 0 4M bs=100k mmap
	cl-pattern write mixed 5 0 4M bs=32k shuffle
	cl-pattern write direct_sync 6 0 1M bs=128k direct sync
	drop
	cl-pattern check direct 1 0 4M mmap size=4194304
	cl-pattern check big_direct 2 0 8M bs=2M direct
	cl-pattern check sync 3 0 1M direct
	cl-pattern check mapped 4 0 4M bs=1M direct
	cl-pattern check mixed 5 0 4M bs=7k
	cl-pattern check direct_sync 6 0 1M mmap
}

# Larger than the client may keep dirty.
#: limit=120 short=4.2,n4.1,n4.2
case_large_file() {
	local size=$(pick 200M 2G)
	cl-pattern write f 9 0 $size bs=1M
	drop
	cl-pattern check f 9 0 $size bs=1M
}

# Many processes, one file each and all one file.
#: limit=90 short=4.0,4.1,4.2,n4.1,n4.2
case_parallel_writers() {
	local i pids=()
	for i in 1 2 3 4 5 6 7 8; do
		{
			cl-pattern write own.$i $i 0 4M bs=$((i * 9000))
			cl-pattern write common 99 $((i - 1))M 1M bs=64k
		} &
		pids+=($!)
	done
	for i in "${pids[@]}"; do wait $i; done
	drop
	for i in 1 2 3 4 5 6 7 8; do
		cl-pattern check own.$i $i 0 4M
	done
	cl-pattern check common 99 0 8M size=8388608
}

#: limit=120
case_file_model() {
	local seed
	for seed in $(seq 1 $(pick 3 20)); do
		cl-model f $seed $(pick 600 5000)
	done
}

# Sparse files and offsets that need more than 32 bits.
#: limit=90
case_sparse() {
	local at
	for at in 0 2G 4294967295 5G 100G 1T; do
		cl-pattern write f 11 $at 100000
	done
	drop
	eq "$(stat -c %s f)" $((1099511627776 + 100000))
	(($(stat -c %b f) * 512 < 10000000)) || fail "the holes take space: $(stat -c %b f) blocks"
	for at in 0 2G 4294967295 5G 100G 1T; do
		cl-pattern check f 11 $at 100000
	done
	cl-pattern zero f 100000 1M
	cl-pattern zero f 3G 1M
	cl-pattern zero f $((1099511627776 - 1048576)) 1M
	truncate -s 3T f
	cl-pattern zero f 2T 1M
	truncate -s 4294967295 f
	eq "$(stat -c %s f)" 4294967295
	cl-pattern check f 11 2G 100000
	truncate -s 5G f
	cl-pattern zero f 4294967295 1M # cut off, so gone
}

# The largest size that the exported file system has, and one more.
#: limit=60
case_largest_file() {
	local size step
	# the largest size that truncate takes, by bisection
	for ((step = 1 << 61, size = 0; step > 0; step >>= 1)); do
		truncate -s $((size + step)) f 2>/dev/null && ((size += step))
	done
	eq "$(stat -c %s f)" $size
	((size > 4398046511103)) || fail "files end at $size"
	fails 'File too large' truncate -s $((size + 1)) f
	cl-pattern write f 3 $((size - 5000)) 5000
	drop
	cl-pattern check f 3 $((size - 5000)) 5000 size=$size
	fails 'File too large' cl-pattern write f 3 $size 1
}

# Seek, allocate, deallocate, copy: 4.2, and 4.1 where the client makes do without.
#: limit=60 only=4.2,n4.2
case_holes() {
	cl-pattern write f 1 0 1M
	cl-pattern write f 1 10M 1M
	sync
	fallocate -p -o 256k -l 128k f
	cl-pattern check f 1 0 256k
	cl-pattern zero f 256k 128k
	cl-pattern check f 1 384k 640k
	fallocate -o 20M -l 1M f
	eq "$(stat -c %s f)" $((21 << 20))
	cl-pattern zero f 20M 1M
	perl -e 'open F, "<", "f" or die; my $at = sysseek F, 2 << 20, 3 or die "SEEK_DATA: $!"; # 3: SEEK_DATA
		$at == 10 << 20 or die "data at $at"; $at = sysseek F, 0, 4 or die "SEEK_HOLE: $!";
		$at == 256 << 10 or die "hole at $at"'
}

#: limit=120 only=4.2,n4.2
case_file_model_42() {
	local seed
	for seed in $(seq 1 $(pick 3 20)); do
		cl-model f $seed $(pick 600 5000) v42
	done
}

#: limit=60 only=4.2,n4.2
case_copy_range() {
	cl-pattern write f 1 0 20M
	cp --reflink=never --sparse=never f g
	cmp f g
	drop
	cl-pattern check g 1 0 20M
}
