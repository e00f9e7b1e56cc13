# Reports a control variable whose value came with the installation.
(def
    (Report
        (echo 0)
    )
    (preset 0)
)
(when true
    (:= Report.echo preset)
    (report)
)
