# What `cmake --install` puts into the prefix. Nothing in it names the source or the build tree.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)
set(package "${CMAKE_INSTALL_LIBDIR}/cmake/pennon")

# Arrow is found where it was, but that in the build's own virtual environment goes along.
cmake_path(GET arrow PARENT_PATH arrow_dir)
cmake_path(IS_PREFIX PENNON_VENV "${arrow_dir}" arrow_is_ours)
set_target_properties(pennon pennon_cli PROPERTIES INSTALL_RPATH_USE_LINK_PATH ON)
set_target_properties(pennon_cli PROPERTIES INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}")
if(arrow_is_ours)
  file(GLOB libraries "${arrow_dir}/libarrow.so.*" "${arrow_dir}/libarrow_s3.so.*" "${arrow_dir}/libparquet.so.*")
  file(GLOB licences "${arrow_dir}/../pyarrow-*.dist-info/licenses/*.txt")
  install(FILES ${libraries} ${licences} DESTINATION "${CMAKE_INSTALL_LIBDIR}/pennon")
  set_property(TARGET pennon APPEND PROPERTY INSTALL_RPATH "$ORIGIN/pennon")
  set_property(TARGET pennon_cli APPEND PROPERTY INSTALL_RPATH "$ORIGIN/../${CMAKE_INSTALL_LIBDIR}/pennon")
endif()
install(TARGETS pennon EXPORT pennonTargets FILE_SET HEADERS)
install(TARGETS pennon_cli)
install(FILES LICENSE THIRD_PARTY.md DESTINATION "${CMAKE_INSTALL_DOCDIR}")

string(REGEX MATCH "^[0-9]+\\.[0-9]+" pennon_arrow_minor "${ARROW_VERSION}")
configure_file(cmake/pennonConfig.cmake.in pennonConfig.cmake @ONLY)
write_basic_package_version_file(pennonConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES "${PROJECT_BINARY_DIR}/pennonConfig.cmake" "${PROJECT_BINARY_DIR}/pennonConfigVersion.cmake"
  cmake/pennonArrow.cmake DESTINATION "${package}")
install(EXPORT pennonTargets NAMESPACE pennon:: DESTINATION "${package}")

file(RELATIVE_PATH up "/${CMAKE_INSTALL_LIBDIR}/pkgconfig" "/")
if(Arrow_FOUND)
  string(REGEX MATCH "(.*)\\.(.*)" _ "${pennon_arrow_minor}")
  math(EXPR next "${CMAKE_MATCH_2} + 1")
  set(pc_requires "arrow >= ${pennon_arrow_minor}, arrow < ${CMAKE_MATCH_1}.${next}")
else()  # a pyarrow has no pkg-config file
  cmake_path(GET arrow FILENAME arrow_file)
  string(CONCAT pc_variables "# A pyarrow ${pennon_arrow_minor}: pkg-config --define-variable=pyarrow=DIRECTORY\n"
    "pyarrow=PYARROW_IS_NOT_DEFINED\n")
  set(pc_cflags "-isystem \${pyarrow}/include")
  set(pc_libs "\${pyarrow}/${arrow_file} -Wl,-rpath,\${pyarrow}")
endif()
configure_file(cmake/pennon.pc.in pennon.pc @ONLY)
install(FILES "${PROJECT_BINARY_DIR}/pennon.pc" DESTINATION "${CMAKE_INSTALL_LIBDIR}/pkgconfig")
