// Package kubetest is an API server for tests: what it answers is plain JSON.
package kubetest

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path"
	"slices"
	"strconv"
	"sync"
	"testing"

	"carvelwright.dev/payload/internal/kube"
)

// Server answers Gets with Objects and lists with Lists, both by path.
type Server struct {
	Objects map[string]any
	Lists   map[string][]any
	// Refuse gives an HTTP status for a request, or 0.
	Refuse func(r *http.Request) int
	// Echo makes refusals repeat the request's token, as a proxy's error page may.
	Echo bool
	// PageSize overrides the client's limit.
	PageSize int

	mutex  sync.Mutex
	posted []map[string]any
	http   *httptest.Server
	token  string
}

// New starts a server over TLS that wants token.
func New(t testing.TB, token string) *Server {
	s := &Server{Objects: map[string]any{}, Lists: map[string][]any{}, token: token}
	s.http = httptest.NewTLSServer(s)
	t.Cleanup(s.http.Close)
	return s
}

// CA is the server's certificate as PEM.
func (s *Server) CA() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.http.Certificate().Raw})
}

// Address gives the server's host and port.
func (s *Server) Address() (host, port string) {
	host, port, err := net.SplitHostPort(s.http.Listener.Addr().String())
	if err != nil {
		panic(err)
	}
	return host, port
}

// Client gives a client for the server.
func (s *Server) Client(t testing.TB) *kube.Client {
	t.Helper()
	c, err := kube.New(s.http.URL, s.token, s.CA())
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// SetList changes a list while the server runs; without items it is there and empty.
func (s *Server) SetList(path string, items ...any) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.Lists[path] = items
}

// Posted gives the bodies that were posted so far.
func (s *Server) Posted() []map[string]any {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.posted
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if r.Header.Get("Authorization") != "Bearer "+s.token {
		status(w, http.StatusUnauthorized)
		return
	}
	if s.Refuse != nil {
		if code := s.Refuse(r); code != 0 {
			s.refuse(w, r, code)
			return
		}
	}
	if r.Method == http.MethodPost {
		s.post(w, r)
		return
	}
	if object, ok := s.Objects[r.URL.Path]; ok {
		_ = json.NewEncoder(w).Encode(object)
		return
	}
	if items, ok := s.Lists[r.URL.Path]; ok {
		s.page(w, r, items)
		return
	}
	notFound(w, path.Base(r.URL.Path))
}

// notFound answers as an API server does for an object that is not there. A 404 from Refuse is that of something in between.
func notFound(w http.ResponseWriter, name string) {
	w.WriteHeader(http.StatusNotFound)
	_ = json.NewEncoder(w).Encode(map[string]any{"kind": "Status", "message": fmt.Sprintf("%q not found", name), "reason": "NotFound",
		"details": map[string]any{"name": name}, "code": http.StatusNotFound})
}

func (s *Server) refuse(w http.ResponseWriter, r *http.Request, code int) {
	if !s.Echo {
		status(w, code)
		return
	}
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{"message": "you sent " + r.Header.Get("Authorization")})
}

func (s *Server) post(w http.ResponseWriter, r *http.Request) {
	var body map[string]any
	text, err := io.ReadAll(r.Body)
	if err != nil || json.Unmarshal(text, &body) != nil || r.Header.Get("Content-Type") != "application/json" {
		status(w, http.StatusBadRequest)
		return
	}
	body["path"] = r.URL.Path
	if s.exists(body) {
		status(w, http.StatusConflict)
		return
	}
	s.posted = append(s.posted, body)
	w.WriteHeader(http.StatusCreated)
}

// exists tells whether an object of that name was posted before; one without a name is always new.
func (s *Server) exists(body map[string]any) bool {
	name := func(body map[string]any) any {
		metadata, _ := body["metadata"].(map[string]any)
		return metadata["name"]
	}
	return name(body) != nil && slices.ContainsFunc(s.posted, func(other map[string]any) bool {
		return other["path"] == body["path"] && name(other) == name(body)
	})
}

func (s *Server) page(w http.ResponseWriter, r *http.Request, items []any) {
	size, _ := strconv.Atoi(r.URL.Query().Get("limit"))
	if s.PageSize > 0 {
		size = s.PageSize
	}
	from, _ := strconv.Atoi(r.URL.Query().Get("continue"))
	to, next := len(items), ""
	if size > 0 && from+size < len(items) {
		to = from + size
		next = strconv.Itoa(to)
	}
	_ = json.NewEncoder(w).Encode(map[string]any{"metadata": map[string]any{"continue": next}, "items": items[from:to]})
}

func status(w http.ResponseWriter, code int) {
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]any{"kind": "Status", "message": fmt.Sprintf("the test says %d", code), "code": code})
}
