ARROW: str  # major and minor version of Arrow C++; written by python/CMakeLists.txt
