#include "parallel.hpp"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <deque>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>

namespace gammanav {
namespace {

// More threads than this gain nothing: the kernels wait for the memory.
constexpr int kMostWorkers = 15;

struct Job {
    Job(const std::function<void(std::size_t)>& w, std::size_t n) : work(w), parts(n) {}

    const std::function<void(std::size_t)>& work;
    const std::size_t parts;
    std::atomic<std::size_t> next{0};
    int helping = 0;             // workers inside, under the pool's mutex
    std::exception_ptr failure;  // likewise
    std::condition_variable left;
};

class Pool {
  public:
    void run(Job& job, int helpers) {
        invite(job, helpers);
        take_part(job);
        std::unique_lock lock(mutex_);
        waiting_.erase(std::remove(waiting_.begin(), waiting_.end(), &job), waiting_.end());
        job.left.wait(lock, [&] { return job.helping == 0; });
        if (job.failure) std::rethrow_exception(job.failure);
    }

  private:
    void invite(Job& job, int helpers) {
        const std::lock_guard lock(mutex_);
        while (workers_ < std::min(helpers, kMostWorkers) && start_worker()) ++workers_;
        for (int i = 0; i < std::min(helpers, workers_); ++i) {
            waiting_.push_back(&job);
            wake_.notify_one();
        }
    }

    // Signals stay with the threads of the application.
    bool start_worker() {
        sigset_t all, before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        bool started = true;
        try {
            std::thread([this] { serve(); }).detach();
        } catch (const std::system_error&) {
            started = false;  // no more threads to be had: the caller does the work itself
        }
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
        return started;
    }

    [[noreturn]] void serve() {
        std::unique_lock lock(mutex_);
        for (;;) {
            wake_.wait(lock, [&] { return !waiting_.empty(); });
            Job& job = *waiting_.front();
            waiting_.pop_front();
            ++job.helping;
            lock.unlock();
            take_part(job);
            lock.lock();
            if (--job.helping == 0) job.left.notify_one();
        }
    }

    void take_part(Job& job) {
        for (std::size_t part = job.next++; part < job.parts; part = job.next++) {
            try {
                job.work(part);
            } catch (...) {
                const std::lock_guard lock(mutex_);
                if (!job.failure) job.failure = std::current_exception();
            }
        }
    }

    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<Job*> waiting_;  // one entry per invitation
    int workers_ = 0;
};

// Never destroyed: its threads sleep in it until the process ends.
std::atomic<Pool*> the_pool{nullptr};

// The threads of the parent do not exist in a forked child.
void forget_pool() { the_pool.store(nullptr); }

Pool& pool() {
    static const int registered = pthread_atfork(nullptr, nullptr, forget_pool);
    (void)registered;
    Pool* present = the_pool.load();
    if (present != nullptr) return *present;
    Pool* fresh = new Pool;
    if (the_pool.compare_exchange_strong(present, fresh)) return *fresh;
    delete fresh;
    return *present;
}

}  // namespace

void for_parts(int threads, std::size_t parts, const std::function<void(std::size_t)>& work) {
    const int helpers = static_cast<int>(std::min<std::size_t>(threads > 1 ? threads : 1, parts)) - 1;
    if (helpers <= 0) {
        for (std::size_t part = 0; part < parts; ++part) work(part);
        return;
    }
    Job job(work, parts);
    pool().run(job, helpers);
}

}  // namespace gammanav
