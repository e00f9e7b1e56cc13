(def (Report (acked 0) sacked (loss) (rtt 0 1)) (volatile 3) gain (a b) (c (+ 1 2)) (2x 0) (__hidden 0) (true 0))
(when true (report))
