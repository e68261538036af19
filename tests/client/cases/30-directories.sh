# Large directories.
#: limit=300 short=4.0,4.2
case_large_directory() {
	local n=$(pick 10000 100000)
	mkdir d
	cl-dir make d s $n
	drop
	eq "$(cl-dir check d s $n)" 0
	cl-dir race d s $n $(pick 4 20)
	drop
	cl-dir race d s $n $(pick 2 10)
	cl-dir check d s $n >/dev/null
	eq "$(ls -f d | grep -c '^s')" $n
	cl-dir remove d s $n
	rm -rf d
}

#: limit=60 short=4.0,4.2
case_seekdir() {
	mkdir d
	cl-dir make d s 2000
	cl-dir seek d
	drop
	cl-dir seek d
}

# Removing while listing, as rm -rf does, and a directory that changes between two listings.
#: limit=60 short=4.1,4.2
case_remove_while_listing() {
	mkdir d
	cl-dir make d a 1500
	cl-dir make d b 1500
	perl -e 'opendir D, "d" or die; my $n = 0; while (defined(my $e = readdir D)) { next unless $e =~ /^a/;
		unlink "d/$e" or die "$e: $!"; $n++ } die "saw $n" unless $n == 1500'
	eq "$(cl-dir check d b 1500)" 0
	rm -rf d
}

#: limit=60 short=4.1,4.2
case_listing_with_attributes() {
	mkdir d
	perl -e 'for my $i (0..1999) { open F, ">", "d/$i" or die; print F "x" x $i; close F or die }'
	drop
	ls -l d | awk 'NF > 5 && $5 != $NF { print "wrong size", $0; bad = 1 } NF > 5 { n++ }
		END { if (n != 2000) { print n " names"; bad = 1 } exit bad }'
}
