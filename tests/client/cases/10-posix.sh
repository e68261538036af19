# What POSIX says, by cl-posix.c; a local file system passes all of these.
#: limit=40
case_names() { cl-posix names; }
#: limit=40
case_create() { cl-posix create; }
#: limit=40
case_silly_rename() { cl-posix silly; }
#: limit=40
case_rename() { cl-posix renames; }
#: limit=40
case_links() { cl-posix links; }
#: limit=40
case_special_files() { cl-posix special; }
#: limit=40
case_truncate() { cl-posix truncates; }
#: limit=40
case_append() { cl-posix append; }
#: limit=40
case_vectors() { cl-posix vectors; }
#: limit=40
case_times() { cl-posix times; }
#: limit=40
case_attributes() { cl-posix attributes; }
#: limit=40 only=4.2,n4.2
case_xattrs() { cl-posix xattrs; }
#: limit=40
case_deep_tree() { cl-posix deep; }
#: limit=40
case_statfs() { cl-posix statfs; }
#: limit=40
case_mmap() { cl-posix mapping; }
#: limit=60
case_permissions() { cl-posix permissions; }
#: limit=40
case_ownership() { cl-posix ownership; }
#: limit=40
case_rights_of_open_files() { cl-posix revoked; }
#: limit=40
case_flock() { cl-posix flocks; }
#: limit=40
case_lock_ranges() { cl-lock split f; }

# The same random operations here and on a tmpfs: the same results, the same errors, the same tree.
#: limit=120
case_like_a_local_fs() {
	local seed
	for seed in $(seq 1 $(pick 2 20)); do
		mkdir nfs.$seed /tmp/local.$seed
		cl-tree nfs.$seed /tmp/local.$seed $seed $(pick 1500 5000) || fail "seed $seed"
		rm -rf /tmp/local.$seed
	done
}

# cp, tar, find, diff: a tree goes to the server and comes back.
#: limit=90
case_copy_a_tree() {
	cp -a /usr/share/doc/fio /usr/share/doc/bash /tmp/ 2>/dev/null || true
	mkdir /tmp/tree
	perl -e 'for my $d (0..19) { mkdir "/tmp/tree/$d"; for my $f (0..19) { open F, ">", "/tmp/tree/$d/$f" or die;
		print F "$d $f\n" x ($d * 50 + $f); close F or die } }'
	ln -s 3/4 /tmp/tree/link
	ln /tmp/tree/5/6 /tmp/tree/hard
	chmod 640 /tmp/tree/1/1
	touch -d 2001-02-03T04:05:06 /tmp/tree/2/2
	cp -a /tmp/tree tree
	drop
	diff -r /tmp/tree tree
	eq "$(cd tree && find . -printf '%p %y %m %U %G %n %T@ %l\n' | sort)" \
		"$(cd /tmp/tree && find . -printf '%p %y %m %U %G %n %T@ %l\n' | sort)"
	tar cf t.tar -C tree .
	mkdir again
	tar xf t.tar -C again
	drop
	diff -r tree again
	tar df t.tar -C again
	rm -rf tree again
	[[ ! -e tree ]]
	rm -rf /tmp/tree
}
