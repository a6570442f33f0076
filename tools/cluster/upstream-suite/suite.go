//go:build tools

// Package suite names what the end-to-end tests of Whereabouts import. They are test files, which nothing can import, so
// that nothing else would put these modules into go.sum.
package suite

import (
	_ "github.com/k8snetworkplumbingwg/whereabouts/e2e/client"
	_ "github.com/k8snetworkplumbingwg/whereabouts/e2e/poolconsistency"
	_ "github.com/k8snetworkplumbingwg/whereabouts/e2e/retrievers"
	_ "github.com/k8snetworkplumbingwg/whereabouts/e2e/testenvironment"
	_ "github.com/k8snetworkplumbingwg/whereabouts/e2e/util"
	_ "github.com/k8snetworkplumbingwg/whereabouts/pkg/storage/kubernetes"
	_ "github.com/onsi/ginkgo"
	_ "github.com/onsi/ginkgo/extensions/table"
	_ "github.com/onsi/gomega"
)
