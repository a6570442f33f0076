// Only marks the module's root: what a version of Kubernetes requires is in VERSION.mod, which -modfile names.
module carvelwright.dev/tools/cluster/kubernetes

go 1.24.0
