// ctest: labels=manners,asan,tsan timeout=120
// What a host may expect of a library: its signals, its standard streams, its environment and its forks are its own.
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <limits>
#include <mutex>
#include <optional>
#include <set>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include <arrow/api.h>
#include <gtest/gtest.h>

#include "pennon/pennon.h"
#include "support/vectors.h"

namespace {

std::mutex names_mutex;
std::set<std::string>* names = nullptr;  // of variables asked for by this executable, which holds the library

char* Find(const char* name, const void* caller) {
  const std::lock_guard lock(names_mutex);
  Dl_info from;
  Dl_info here;
  if (names != nullptr && dladdr(caller, &from) != 0 && dladdr(reinterpret_cast<const void*>(&Find), &here) != 0 &&
      from.dli_fbase == here.dli_fbase) {
    names->insert(name);
  }
  const size_t length = std::strlen(name);
  for (char** variable = environ; variable != nullptr && *variable != nullptr; ++variable) {
    if (std::strncmp(*variable, name, length) == 0 && (*variable)[length] == '=') return *variable + length + 1;
  }
  return nullptr;
}

}  // namespace

// In place of the C library's.
extern "C" char* getenv(const char* name) noexcept { return Find(name, __builtin_return_address(0)); }
extern "C" char* secure_getenv(const char* name) noexcept { return Find(name, __builtin_return_address(0)); }

namespace pennon {
namespace {

constexpr int kDim = 8;

std::shared_ptr<arrow::Array> Rows(size_t n, uint64_t seed = 1) { return ToArray(Normal(n, kDim, seed), kDim); }

LiveIndex MakeIndex() { return LiveIndex::Make({.dim = kDim, .build = {.m = 4, .ef_construction = 16}}).ValueOrDie(); }

// Everything that an index can do and that can happen to it. How many calls failed that should.
int AWholeLife() {
  int failed = 0;
  const auto fails = [&](const arrow::Status& status) { failed += status.ok() ? 0 : 1; };
  LiveIndex index = MakeIndex();
  index.Append(Rows(1500), {.threads = 3}).ValueOrDie();
  fails(index.Append(ToArray({std::vector<float>(kDim, NAN)}, kDim)).status());
  fails(index.Append(Rows(1500), {.deadline = std::chrono::steady_clock::now()}).status());
  fails(LiveIndex::Make({.dim = -1}).status());
  const auto thrower = RowFilter::Predicate([](uint64_t) -> bool { throw std::runtime_error("no"); });
  fails(index.Search(Normal(1, kDim, 2)[0], {.filter = thrower}).status());
  fails(index.SearchBatch(*Rows(20), {.filter = thrower}, {.threads = 3}).status());
  const auto answers = index.SearchBatch(*Rows(20), {}, {.threads = 3}).ValueOrDie();
  ToRecordBatch(answers).ValueOrDie();
  const Snapshot snapshot = index.GetSnapshot().ValueOrDie();
  snapshot.ToRecordBatch().ValueOrDie();
  snapshot.Verify().ValueOrDie();
  VectorStore store = VectorStore::Make(kDim, Metric::kL2).ValueOrDie();
  store.AppendBatch(Rows(1600), 0).ValueOrDie();
  HnswGraph graph = HnswGraph::FromLanceHnswBatch(*snapshot.ToLanceHnswBatch().ValueOrDie()).ValueOrDie();
  fails(graph.InsertBatch(1, 2, store.GetSnapshot()));
  if (!graph.InsertBatch(1500, 1600, store.GetSnapshot(), 3).ok()) return -1;
  index.Trim();
  return failed;
}
constexpr int kFailures = 6;

TEST(Manners, ReadsNoEnvironmentButPennonSimd) {
  std::set<std::string> asked;
  {
    const std::lock_guard lock(names_mutex);
    names = &asked;
  }
  std::getenv("PENNON_TEST_OF_THE_TEST");
  EXPECT_EQ(AWholeLife(), kFailures);
  {
    const std::lock_guard lock(names_mutex);
    names = nullptr;
  }
  EXPECT_EQ(asked.erase("PENNON_TEST_OF_THE_TEST"), 1u);
  asked.erase("PENNON_SIMD");
  EXPECT_EQ(asked, std::set<std::string>());
}

TEST(Manners, PrintsNothing) {
  std::fflush(nullptr);
  int ends[2];
  ASSERT_EQ(pipe2(ends, O_NONBLOCK), 0);
  const int before[2] = {dup(1), dup(2)};
  dup2(ends[1], 1);
  dup2(ends[1], 2);
  const int failed = AWholeLife();
  std::fflush(nullptr);
  for (int i = 0; i < 2; ++i) {
    dup2(before[i], i + 1);
    close(before[i]);
  }
  char text[1000];
  const ssize_t printed = read(ends[0], text, sizeof(text));
  EXPECT_LT(printed, 0) << std::string(text, static_cast<size_t>(std::max<ssize_t>(0, printed)));
  close(ends[0]);
  close(ends[1]);
  EXPECT_EQ(failed, kFailures);
}

std::vector<void (*)(int)> SignalHandlers() {
  std::vector<void (*)(int)> all;
  for (int signal = 1; signal < NSIG; ++signal) {
    struct sigaction action = {};
    if (sigaction(signal, nullptr, &action) == 0) all.push_back(action.sa_handler);
  }
  return all;
}
const auto handlers_at_start = SignalHandlers();

TEST(Manners, InstallsNoSignalHandler) {
  EXPECT_EQ(AWholeLife(), kFailures);
  EXPECT_EQ(SignalHandlers(), handlers_at_start);
}

// The names of this process's threads.
std::multiset<std::string> ThreadNames() {
  std::multiset<std::string> found;
  DIR* tasks = opendir("/proc/self/task");
  while (const dirent* task = readdir(tasks)) {
    std::string name;
    if (std::getline(std::ifstream(std::string("/proc/self/task/") + task->d_name + "/comm"), name)) found.insert(name);
  }
  closedir(tasks);
  return found;
}

std::atomic<int> handled{0};
std::atomic<pid_t> handled_by{0};

TEST(Manners, SignalsAreLeftToTheHostsThreads) {
  std::signal(SIGUSR1, [](int) {
    ++handled;
    handled_by = gettid();
  });
  LiveIndex index = MakeIndex();
  ASSERT_TRUE(index.Append(Rows(1000), {.threads = 4}).ok());
  const auto threads = ThreadNames();
  for (const char* name : {"pennon-1", "pennon-2", "pennon-3"}) EXPECT_EQ(threads.count(name), 1u) << name;
  // While the host's only thread does not want it, nobody does.
  sigset_t one;
  sigemptyset(&one);
  sigaddset(&one, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &one, nullptr);
  kill(getpid(), SIGUSR1);
  ASSERT_TRUE(index.Append(Rows(1000), {.threads = 4}).ok());
  EXPECT_EQ(handled, 0);
  pthread_sigmask(SIG_UNBLOCK, &one, nullptr);
  EXPECT_EQ(handled, 1);
  EXPECT_EQ(handled_by, gettid());
  std::signal(SIGUSR1, SIG_DFL);
}

// How a child that does this ends: 0 if it returned, and -1 if it hung.
int InAChild(const std::function<void()>& act) {
  const pid_t child = fork();
  if (child == 0) {
    act();
    _exit(0);
  }
  for (int tenths = 0; tenths < 100; ++tenths) {
    int status = 0;
    if (waitpid(child, &status, WNOHANG) == child) return status;
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
  }
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  return -1;
}

TEST(Manners, AChildOfForkMayDestroyWhatItInherits) {
  std::optional<LiveIndex> index = MakeIndex();
  ASSERT_TRUE(index->Append(Rows(1500), {.threads = 4}).ok());
  std::optional<Snapshot> snapshot = index->GetSnapshot().ValueOrDie();
  ASSERT_TRUE(index->Append(Rows(500), {.threads = 4}).ok());
  const VectorStoreSnapshot source = [] {
    VectorStore store = VectorStore::Make(kDim, Metric::kL2).ValueOrDie();
    store.AppendBatch(Rows(1000), 0).ValueOrDie();
    return store.GetSnapshot();
  }();
  std::optional<HnswGraph> graph = HnswGraph::Make(BuildParams::MemWalDefault()).ValueOrDie();
  ASSERT_TRUE(graph->InsertBatch(0, 900, source, 4).ok());
  for (const int ms : {0, 100}) {  // the workers spin, and then sleep
    std::this_thread::sleep_for(std::chrono::milliseconds(ms));
    EXPECT_EQ(InAChild([&] {
                snapshot.reset();
                index.reset();
                graph.reset();
              }),
              0);
    EXPECT_EQ(InAChild([&] {
                index.reset();
                snapshot.reset();
              }),
              0);
  }
  EXPECT_EQ(snapshot->size(), 1500u);
  ASSERT_TRUE(index->Append(Rows(500), {.threads = 4}).ok());
  EXPECT_EQ(index->Search(Normal(1, kDim, 1)[0], {.k = 3}).ValueOrDie().rows.size(), 3u);
  EXPECT_TRUE(index->Verify().ValueOrDie().ok);
  EXPECT_TRUE(graph->InsertBatch(900, 1000, source, 4).ok());
}

}  // namespace
}  // namespace pennon
