(def (Report (x 0) (f true)) (d 5))
(when d (:= x2 (if f2 (if d 1) (ewma 8 d))) (:= f2 (not (if Report.f (> d (-| d 1)) false)))
    (:= Report.x (if (&& f2 (> (/ d x2) 0) Report.f) (max 1 d x2) (!if f2 1s 2)))
    (!if f2 (if d (report) (else (:= d (+ d (:= Rate 5) 1))))))
