module @REF_NAME@

go 1.25
